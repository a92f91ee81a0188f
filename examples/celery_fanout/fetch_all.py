"""Fetch many URLs, spread over several worker processes, each with many greenlets.

    python examples/celery_fanout/fetch_all.py --workers 2 --concurrency 200 URL... < more-urls.txt

The broker is the Redis server that BROKER_URL names. This program starts the workers, and stops them at the end; with
`--workers 0` it uses workers that run elsewhere.
"""

import argparse
import collections
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import celery
from tasks import Fetched, fetch_task


def worker_command(number: int, concurrency: int) -> list[str]:
    """The command that starts a worker. To add another host, run it there with BROKER_URL set."""
    return [
        sys.executable,
        "-m",
        "gevlite.monkey",
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        "-P",
        "custom",
        "-c",
        str(concurrency),
        "-n",
        f"fetch{number}@%h",
        "-l",
        "warning",
        "--without-mingle",
        "--without-gossip",  # these workers have nothing to tell each other
    ]


@contextlib.contextmanager
def local_workers(count: int, concurrency: int) -> Iterator[None]:
    environment = {**os.environ, "CELERY_CUSTOM_WORKER_POOL": "gevlite.integrations.celery:TaskPool"}
    workers = [
        subprocess.Popen(
            worker_command(number, concurrency), cwd=Path(__file__).parent, env=environment, stdin=subprocess.DEVNULL
        )
        for number in range(count)
    ]
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()  # a warm shutdown: running tasks are finished
        for worker in workers:
            worker.wait()


def fetch_all(urls: list[str]) -> Iterator[Fetched]:
    """The result of each URL, as it arrives."""
    jobs = celery.group(fetch_task.s(url) for url in urls).apply_async()
    try:
        for _, fetched in jobs.iter_native(interval=0.05):
            if isinstance(fetched["result"], BaseException):  # for example a time limit
                print(f"{fetched['task_id']}: {fetched['result']!r}", file=sys.stderr)
            else:
                yield fetched["result"]
    finally:
        jobs.revoke()  # if the loop ends early; has no effect on finished tasks
        jobs.forget()


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch URLs by Celery workers on gevlite.")
    parser.add_argument("--workers", type=int, default=2, help="processes to start here (default: 2)")
    parser.add_argument("--concurrency", type=int, default=200, help="URLs at a time in each (default: 200)")
    parser.add_argument("urls", nargs="*", help="what to fetch; without any, one on each line of standard input")
    options = parser.parse_args()
    urls = options.urls or [line.strip() for line in sys.stdin if line.strip()]

    began = time.monotonic()
    by_worker: collections.Counter[str] = collections.Counter()
    failed = 0
    with local_workers(options.workers, options.concurrency):
        for fetched in fetch_all(urls):
            by_worker[fetched["worker"]] += 1
            failed += fetched["status"] != 200
            print(
                f"{fetched['status'] or '-':>4} {fetched['size']:>9} bytes {fetched['seconds']:6.2f} s  "
                f"{fetched['url']}{'  ' + fetched['error'] if fetched['error'] else ''}"
            )
    print(
        f"{sum(by_worker.values())} URLs in {time.monotonic() - began:.1f} s, {failed} failed; by worker: "
        + ", ".join(f"{worker} {count}" for worker, count in sorted(by_worker.items()))
    )


if __name__ == "__main__":
    main()
