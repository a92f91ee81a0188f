"""Runs CPython's own test modules patched and unpatched and compares; `python tests/conformance/runner.py --help`.

A module runs in a process of its own. If a test does not end within the time limit, or takes the process down, the
process is killed, the test counts as hung or crashed, and another process goes on with the tests after it. So one bad
test costs one result, not a module's.

Only the interpreter's installed test package is used, unmodified. A difference without a good reason is a defect of
gevlite; `known_differences.toml` holds the others, each with its reason. An entry with `time_slice` is for tests that
pass with time slices of so many seconds; the runner checks that they do.
"""

import argparse
import concurrent.futures
import json
import os
import pkgutil
import platform
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHILD = HERE / "child.py"
KNOWN = HERE / "known_differences.toml"
KNOWN_WITH_LOOP = HERE / "known_differences_loop.toml"
TIME_LIMIT = 60  # seconds a test

MODULES = """
    test_socket test_ssl test_select test_selectors test_poll test_epoll test_threading test_threading_local test_thread
    test_queue test_subprocess test_signal test_socketserver test_httplib test_httpservers test_urllib2_localnet
    test_ftplib test_smtplib test_poplib test_imaplib test_xmlrpc test_wsgiref test_logging test_concurrent_futures
    test_context test_sched test_asyncio test_multiprocessing_fork test_multiprocessing_spawn
    test_multiprocessing_forkserver test_multiprocessing_main_handling test_interpreters test_os test_timeout test_fork1
    test_wait3 test_wait4 test_threadsignals test_threadedtempfile test_contextlib test_external_inspection
    test_remote_pdb
""".split()

GOOD = ("passed", "skipped", "expected failure")


def module_names(name):
    """The importable modules of one of `MODULES`: those of the package if it is one; none if it is absent."""
    spec = find_spec(f"test.{name}")
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [f"test.{name}"]
    found = pkgutil.iter_modules(spec.submodule_search_locations)
    return sorted(f"test.{name}.{item.name}" for item in found if item.name.startswith("test_"))


def module_of(ident):
    """The module of a test, whose id is MODULE.CLASS.METHOD."""
    return ident.rsplit(".", 2)[0]


# ---------------------------------------------------------------- one process


class Results:
    """The results of the tests of one module so far."""

    def __init__(self):
        self.order = []
        self.tests = {}  # id: {"outcome", "text", "seconds"}
        self.fixtures = {}  # name: the text of its failure
        self.skipped = None  # the reason, if the whole module is

    def missing(self):
        return [ident for ident in self.order if ident not in self.tests]

    def as_json(self):
        return {"skipped": self.skipped, "fixtures": self.fixtures, "tests": self.tests, "order": self.order}


def run_module(name, *, patched, only=None, without=(), limit=TIME_LIMIT, python=sys.executable, time_slice=None):
    """Run the tests of a module, or those in `only`, but not those in `without`. Returns `Results`.

    time_slice: the value of GEVLITE_TIME_SLICE; None: that of the environment.
    """
    results = Results()
    remaining = only
    while True:
        before = len(results.tests)
        running, how, text = _run_process(name, results, patched, remaining, without, limit, python, time_slice)
        if how == "finished":
            # Not run: a fixture of the class or module failed, or skipped them.
            for ident in results.missing():
                outcome = "not run" if results.fixtures else "skipped"
                results.tests[ident] = {"outcome": outcome, "text": "\n".join(results.fixtures.values()), "seconds": 0}
            return results
        if running is not None:
            results.tests[running] = {"outcome": how, "text": text, "seconds": limit if how == "hung" else 0}
        elif len(results.tests) == before:
            results.fixtures["the process"] = f"{how} outside of any test\n{text}"
            for ident in results.missing():
                results.tests[ident] = {"outcome": how, "text": text, "seconds": 0}
            return results
        remaining = results.missing()
        if not remaining:
            return results


def _run_process(name, results, patched, only, without, limit, python, time_slice):
    """`(the test that ran at the end, "finished" or "hung" or "crashed", what it printed)`."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        events, output = Path(folder, "events"), Path(folder, "output")
        events.touch()
        env = dict(
            os.environ,
            GEVLITE_CONFORMANCE_PATCH=str(int(patched)),
            GEVLITE_CONFORMANCE_MODULE=name,
            GEVLITE_CONFORMANCE_RESULTS=str(events),
            TMPDIR=folder,
        )
        for variable in ("PYTHONWARNINGS", "PYTHONDEVMODE"):
            env.pop(variable, None)
        if time_slice is not None:
            env["GEVLITE_TIME_SLICE"] = str(time_slice)
        choice = Path(folder, "choice")
        choice.write_text(json.dumps({"only": only, "without": list(without)}))
        env["GEVLITE_CONFORMANCE_CHOICE"] = str(choice)
        with open(output, "wb") as file:
            process = subprocess.Popen(
                [python, str(CHILD)],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            running, how = _follow(process, events, results, limit)
        finally:
            if process.poll() is None:
                _signal_group(process, signal.SIGABRT)  # faulthandler prints where it is
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    pass
            _signal_group(process, signal.SIGKILL)
            process.wait()
        return running, how, output.read_text(errors="replace")[-4000:]


def _signal_group(process, signum):
    try:
        os.killpg(process.pid, signum)
    except ProcessLookupError:
        pass


def _follow(process, events, results, limit):
    """Read what the process reports until it ends or a test takes too long."""
    running, since = None, time.monotonic()
    with open(events, encoding="utf-8") as file:
        rest = ""
        while True:
            ended = process.poll() is not None
            rest += file.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                event = json.loads(line)
                since = time.monotonic()
                kind = event["event"]
                if kind == "tests":
                    results.order += [ident for ident in event["ids"] if ident not in results.order]
                elif kind == "module":
                    results.skipped = event["text"]
                    return None, "finished"
                elif kind == "start":
                    running = event["id"]
                elif kind == "end":
                    _note(results, event)
                    if event["id"] == running:
                        running = None
                elif kind == "finished":
                    _wait_for_exit(process, limit)
                    if process.poll() is None:
                        results.fixtures["exit"] = "the process did not end after its last test"
                    elif process.returncode:
                        results.fixtures["exit"] = f"after its last test the process ended with {process.returncode}"
                    return None, "finished"
            if ended:
                return running, "crashed"
            if time.monotonic() - since > limit:
                return running, "hung"
            time.sleep(0.02)


def _note(results, event):
    ident, text = event["id"], event["text"]
    if ident in results.order:
        before = results.tests.get(ident)
        if before is None or before["outcome"] in GOOD:
            results.tests[ident] = {"outcome": event["outcome"], "text": text, "seconds": event["seconds"]}
    elif event["outcome"] != "skipped":
        results.fixtures[ident] = text


def _wait_for_exit(process, limit):
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        pass


# ---------------------------------------------------------------- comparison


class KnownDifferences:
    """The tests of `known_differences.toml` for one version of Python, each with its reason."""

    def __init__(self, path=KNOWN, version=None):
        version = ".".join(version or platform.python_version_tuple()[:2])
        with open(path, "rb") as file:
            entries = tomllib.load(file)["difference"]
        entries = [entry for entry in entries if version in entry["versions"]]
        self.reasons = {ident: entry["reason"] for entry in entries for ident in entry["tests"]}
        # The tests that pass with time slices, and the length of the slices.
        sliced = [entry for entry in entries if "time_slice" in entry]
        self.slices = {ident: entry["time_slice"] for entry in sliced for ident in entry["tests"]}

    def reason(self, ident):
        return self.reasons.get(ident)


def run_with_slices(idents, known, limit=TIME_LIMIT, python=sys.executable):
    """Run those of these tests that are known to pass with time slices. Returns `{id: result}`."""
    found = {}
    for ident in idents:
        if ident in known.slices:
            results = run_module(
                module_of(ident), patched=True, only=[ident], limit=limit, python=python, time_slice=known.slices[ident]
            )
            nothing = {"outcome": "missing", "text": "\n".join(results.fixtures.values()), "seconds": 0}
            found[ident] = results.tests.get(ident, nothing)
    return found


def differences(plain, patched):
    """Tests that pass (or are skipped) unpatched and do neither patched: `{id: result}`.

    A test that did not run patched, because the module could not be imported or the process ended early, counts too.
    """
    why = patched.skipped or "\n".join(patched.fixtures.values())
    missing = {"outcome": "missing", "text": why, "seconds": 0}
    found = {}
    for ident, result in plain.tests.items():
        if result["outcome"] in GOOD:
            other = patched.tests.get(ident, missing)
            if other["outcome"] not in GOOD:
                found[ident] = other
    return found


def compare_module(name, limit=TIME_LIMIT, python=sys.executable, plain=None, without=(), retries=1):
    """Run a module both ways. Returns `(plain, patched, {id: result} of the differences)`; a difference is tried again.

    With `plain=None`, only tests that do not pass patched are run unpatched, or all if there is an error outside of
    tests. The tests in `without` are left out.
    """
    patched = run_module(name, patched=True, limit=limit, python=python, without=without)
    bad = [ident for ident, result in patched.tests.items() if result["outcome"] not in GOOD]
    if plain is None:
        plain = Results()
        if bad:
            plain = run_module(name, patched=False, limit=limit, python=python, only=bad)
        # unittest makes a failing test of a module that cannot be imported.
        if patched.fixtures or not patched.tests or set(bad) - set(plain.tests):
            plain = run_module(name, patched=False, limit=limit, python=python, without=without)
    for _ in range(retries):
        different = differences(plain, patched)
        missing = [ident for ident, result in different.items() if result["outcome"] == "missing"]
        # Tests that did not even begin have one common reason, which is not in a test.
        for chosen in [*([missing] if missing else []), *([ident] for ident in different if ident not in missing)]:
            again = run_module(name, patched=True, only=chosen, limit=limit, python=python)
            for ident in chosen:
                if again.tests.get(ident, {}).get("outcome") in GOOD:
                    patched.tests[ident] = {**again.tests[ident], "retried": True}
    return plain, patched, differences(plain, patched)


# ---------------------------------------------------------------- the whole


def run_all(names, *, limit, jobs, cache, report=print):
    """Every module both ways. Returns `{module: {"plain", "patched", "different"}}`, and the names that are absent."""
    absent = [name for name in names if not module_names(name)]
    todo = [module for name in names for module in module_names(name)]
    found = {}

    def one(module):
        stored = cache / f"{module}.json" if cache else None
        plain = Results()
        if stored and stored.exists():
            content = json.loads(stored.read_text())
            plain.__dict__.update(content)
        else:
            plain = run_module(module, patched=False, limit=limit)
            if stored:
                stored.parent.mkdir(parents=True, exist_ok=True)
                stored.write_text(json.dumps(plain.as_json()))
        return module, *compare_module(module, limit=limit, plain=plain)

    with concurrent.futures.ThreadPoolExecutor(jobs) as executor:
        for future in concurrent.futures.as_completed([executor.submit(one, module) for module in todo]):
            module, plain, patched, different = future.result()
            found[module] = {"plain": plain.as_json(), "patched": patched.as_json(), "different": different}
            passed = sum(result["outcome"] in GOOD for result in plain.tests.values())
            report(
                f"[{len(found)}/{len(todo)}] {module}: {passed} of {len(plain.tests)} pass unpatched, "
                f"{len(different)} of these fail patched"
            )
            for ident, result in different.items():
                report(f"    {result['outcome']}: {ident}")
    return found, absent


def wrong_fixtures(found):
    """`{module: {name: text}}` of the failures outside of tests that happen only patched."""
    wrong = {}
    for module, results in found.items():
        new = {
            name: text
            for name, text in results["patched"]["fixtures"].items()
            if name not in results["plain"]["fixtures"]
        }
        if new:
            wrong[module] = new
    return wrong


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="names such as test_socket; by default all")
    parser.add_argument("--limit", type=float, default=TIME_LIMIT, help="seconds a test may take (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="modules at the same time (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the results there, as JSON")
    parser.add_argument("--cache", type=Path, help="keep the unpatched results in this folder, and use them")
    parser.add_argument("--loop", action="store_true", help="with loops of gevlite.asyncio, and nothing else patched")
    parser.add_argument("--text", action="store_true", help="print what each differing test printed")
    options = parser.parse_args(arguments)
    if options.loop:
        os.environ["GEVLITE_CONFORMANCE_LOOP"] = "1"
    started = time.monotonic()
    found, absent = run_all(
        options.modules or (["test_asyncio"] if options.loop else MODULES),
        limit=options.limit,
        jobs=options.jobs,
        cache=options.cache,
        report=lambda line: print(line, flush=True),
    )
    known = KnownDifferences(KNOWN_WITH_LOOP if options.loop else KNOWN)
    unexplained = {}
    total = passed = 0
    for module in found.values():
        plain = module["plain"]["tests"]
        total += sum(result["outcome"] in GOOD for result in plain.values())
        for ident, result in module["different"].items():
            if known.reason(ident) is None:
                unexplained[ident] = result
        passed -= len(module["different"])
    passed += total
    if options.output:
        import gevlite

        head = {
            "python": platform.python_version(),
            "gevlite": gevlite.__version__,
            "backend": os.environ.get("GEVLITE_BACKEND", "default"),
            "absent": absent,
            "loop": options.loop,
        }
        options.output.write_text(json.dumps({**head, "modules": found}, indent=1))
    sliced = {}
    if not options.loop:
        sliced = run_with_slices([ident for module in found.values() for ident in module["different"]], known)
    for ident, result in sliced.items():
        if result["outcome"] not in GOOD:
            unexplained[f"{ident}, with time slices"] = result
    for ident, result in unexplained.items():
        print(f"\nNOT KNOWN {result['outcome']}: {ident}")
        if options.text:
            print(result["text"])
    for name in absent:
        print(f"absent from this interpreter: {name}")
    fixtures = wrong_fixtures(found)
    for name, texts in fixtures.items():
        print(f"\nFIXTURES of {name}: {texts}")
    for name, module in found.items():
        if "the process" in module["plain"]["fixtures"]:
            print(f"\nNOT COMPARED, since it does not run unpatched: {name}: {module['plain']['fixtures']}")
    print(
        f"\nPython {platform.python_version()}: {passed} of {total} tests that pass unpatched pass patched; "
        f"{total - passed} differ, {len(unexplained)} of them unexplained; {len(sliced)} were run with time slices; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if unexplained or fixtures else 0


if __name__ == "__main__":
    sys.exit(main())
