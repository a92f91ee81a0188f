"""Fetch pages at the same time with the standard library: python examples/fetch.py URL..."""

from gevlite import monkey

monkey.patch_all()

import sys  # noqa: E402
import urllib.request  # noqa: E402

import gevlite  # noqa: E402


def fetch(url: str) -> tuple[str, int]:
    with urllib.request.urlopen(url) as response:
        return url, len(response.read())


jobs = [gevlite.spawn(fetch, url) for url in sys.argv[1:]]
for job in gevlite.iwait(jobs):
    if job.exception is None:
        url, size = job.get()
        print(f"{size:>10} bytes  {url}")
