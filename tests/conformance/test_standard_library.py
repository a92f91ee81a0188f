"""The quick ones of CPython's own test modules, patched. All of them: `tox -e conformance`."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import runner

KNOWN = runner.KnownDifferences()
QUICK = """
    test_thread test_threading_local test_queue test_select test_epoll test_context test_sched test_socketserver
    test_httplib test_httpservers test_urllib2_localnet test_smtplib test_wsgiref test_contextlib
    test_asyncio.test_threads test_asyncio.test_streams test_asyncio.test_sock_lowlevel test_asyncio.test_unix_events
    test_asyncio.test_queues test_asyncio.test_locks test_asyncio.test_base_events test_asyncio.test_runners
    test_asyncio.test_timeouts test_concurrent_futures.test_as_completed
""".split()


def skip_if_absent(name):
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"this interpreter does not ship {name}")


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", QUICK)
def test_what_passes_unpatched_passes_patched(name):
    name = f"test.{name}"
    skip_if_absent(name)
    _plain, patched, different = runner.compare_module(name, limit=40, without=KNOWN.reasons)
    report = [f"{ident}: {result['outcome']}\n{result['text']}" for ident, result in different.items()]
    assert not different, "\n".join(report)
    assert not patched.fixtures
    assert patched.skipped or any(result["outcome"] == "passed" for result in patched.tests.values())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("ident", sorted(KNOWN.slices))
def test_loops_that_never_block_pass_with_time_slices(ident):
    skip_if_absent(runner.module_of(ident))
    for _ in range(2):  # some are about time
        result = runner.run_with_slices([ident], KNOWN, limit=60)[ident]
        if result["outcome"] == "passed":
            return
    assert result["outcome"] == "passed", result["text"]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14", "3.15"])
def test_known_differences_are_few_and_have_reasons(version):
    with open(runner.KNOWN, "rb") as file:
        entries = tomllib.load(file)["difference"]
    assert all(set(entry) - {"time_slice"} == {"versions", "tests", "reason"} for entry in entries)
    assert all(entry["reason"].endswith(".") for entry in entries)
    listed = [ident for entry in entries if version in entry["versions"] for ident in entry["tests"]]
    assert len(listed) == len(set(listed)) <= 41
