"""Instructions for each operation, counted by callgrind and held against a table: `python -m benchmarks.instructions`.

A count hardly depends on the machine or on what else it does, so a change that costs shows at once, also where times
are useless. What the kernel does is not in it. instructions.json has one table for each minor version of Python: the
interpreter is part of what is counted. The exit status is 1 if an operation has grown by more than LIMIT; whoever means
it to grow changes the table in the same commit (--update).
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.native import HERE, compiled

TABLE = HERE / "instructions.json"
LIMIT = 0.10
TIMEOUT = 300

# The cases, by name, and how many times the shorter run repeats their bodies: the difference does not contain what both
# runs have in common, such as making a queue.
OPERATIONS = {
    "sleep0": 100,
    "spawn": 1,
    "pool_spawn": 1,
    "timeout": 2_000,
    "sleepers": 1_000,
    "event_ping_pong": 1_000,
    "result": 1_000,
    "queue_rendezvous": 2_000,
    "queue_put_get": 5_000,
    "semaphore": 5_000,
    "rlock": 2_000,
    "local_get": 5_000,
    "local_set": 5_000,
    "socketpair_echo": 1_000,
    "wsgi_get": 500,
    "loop_sleep": 10,
    "loop_call_soon": 1_000,
    "loop_timeouts": 1_000,
    "wait_round_trip": 500,
    "spawn_round_trip": 500,
}

_TRIGGER = re.compile(r"^desc: Trigger: Client Request: (\S+) (\d+)$", re.MULTILINE)
_SUMMARY = re.compile(r"^summary: (\d+)$", re.MULTILINE)


class Unavailable(Exception):
    """Instructions cannot be counted here."""


def environment() -> dict[str, str]:
    """An environment that is the same on every machine: no randomised hashes, and no settings of gevlite."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEVLITE_", "PYTHON"))}
    return {**kept, "PYTHONHASHSEED": "0"}


def fixed_addresses() -> list[str]:
    """A prefix that turns address space randomisation off; a container may not be allowed to (personality(2))."""
    prefix = ["setarch", platform.machine(), "-R"]
    if shutil.which("setarch") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        return prefix
    return []


def count(operations: dict[str, int]) -> dict[str, float]:
    """Instructions for each time that the body of a case runs, over `per`."""
    from benchmarks.case import load_cases

    if not shutil.which("valgrind"):
        raise Unavailable("valgrind is not installed")
    try:
        requests = compiled("callgrind_requests", "-shared", "-fPIC")
    except (OSError, subprocess.CalledProcessError) as exc:
        raise Unavailable(f"the C compiler, or valgrind's header files: {exc}") from None
    cases = load_cases()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *fixed_addresses(),
                *("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/counts"),
                *(sys.executable, "-P", str(HERE / "counted.py"), requests),
                *(f"{cases[name].subject}.{name}={n}" for name, n in operations.items()),
            ],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        if done.returncode:
            raise RuntimeError(f"counting ended with {done.returncode}:\n{done.stderr}")
        counts = parse(path.read_text() for path in Path(folder).iterdir())
    return {
        name: round((counts[name, 2 * n] - counts[name, n]) / (n * cases[name].per)) for name, n in operations.items()
    }


def parse(dumps) -> dict[tuple[str, int], int]:
    """`{(case, times): instructions}` from callgrind's output. The last dump, at exit, belongs to no case."""
    counts = {}
    for text in dumps:
        trigger, summary = _TRIGGER.search(text), _SUMMARY.search(text)
        if trigger and summary:
            counts[trigger[1], int(trigger[2])] = int(summary[1])
    return counts


def compare(before: dict[str, int], now: dict[str, int]) -> tuple[list[str], bool]:
    """The lines of a report, and whether all is within the limit."""
    lines = [f"{'':20} {'table':>10} {'now':>10}"]
    good = True
    for name, instructions in now.items():
        known = before.get(name)
        if known is None:
            lines.append(f"{name:20} {'-':>10} {instructions:10,}  not in the table")
            good = False
            continue
        change = instructions / known - 1
        verdict = ""
        if instructions > known * (1 + LIMIT):
            verdict = f"  more than {LIMIT:.0%} above the table"
            good = False
        elif instructions < known * (1 - LIMIT):
            verdict = "  the table could be lowered"
        lines.append(f"{name:20} {known:10,} {instructions:10,} {change:+7.1%}{verdict}")
    return lines, good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write what was counted into the table")
    options = parser.parse_args()
    version = "{}.{}".format(*sys.version_info)
    built = f"Python {platform.python_version()}, {platform.python_compiler()}, {platform.machine()}"
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    if version not in table and not options.update:
        print(f"instructions: skipped, the table has no counts for Python {version} (--update adds them)")
        return 0
    # A new operation is counted where the table has it; each version of Python gets it with --update.
    known = OPERATIONS if options.update else table[version]["operations"]
    try:
        now = count({name: n for name, n in OPERATIONS.items() if name in known})
    except Unavailable as exc:
        print(f"instructions: skipped, {exc}")
        return 1 if options.update else 0
    if options.update:
        table[version] = {"counted with": built, "operations": now}
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=2) + "\n")
    lines, good = compare(table[version]["operations"], now)
    print(f"Instructions for each operation, {built}", *lines, sep="\n")
    if not good:
        if table[version]["counted with"] != built:
            print(f"The table was counted with {table[version]['counted with']}.")
        print("If that is meant: `tox -e bench-instructions -- --update`, and commit the table with the change.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
