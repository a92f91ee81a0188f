"""`python -m gevlite.monkey --check --watch`: a program is run, and what really blocked is reported."""

import re
import textwrap

import pytest

from gevlite.monkey._watched import Found

HEAD = """
import os, sqlite3, sys, time
import gevlite
from gevlite import _blocked

def waits():
    gevlite.sleep(1000)

def found():
    return sum(run[0] for run in list(_blocked.report_to.runs.values()))

def spin(times):
    "Blocks until it was looked at so often."
    for _ in range(times):
        before = found()
        while found() == before:
            pass

gevlite.spawn(waits)
"""


@pytest.fixture
def watched(script, monkeypatch):
    """`watched(source, *arguments)`: the lines of the report and those before it."""
    monkeypatch.setenv("GEVLITE_WATCH", "0.1")  # what is held up by a busy machine only is shorter

    def run(source, *arguments, head=HEAD):
        program = script.write(head + textwrap.dedent(source))
        lines = script.python("-m", "gevlite.monkey", "--check", "--watch", program, *arguments).splitlines()
        own = [line for line in lines if line.startswith(("blocked: ", str(program)))]
        return own, [line for line in lines if line not in own]

    return run


def test_lines_are_listed_by_how_long_they_blocked(watched, script):
    lines, printed = watched(
        """
        def short():
            spin(1)

        def long():
            spin(12)

        for function in (short, long, short, short):
            gevlite.spawn(function).join()
        print(sys.argv[1:])
        """,
        "--watch",
        "b",
    )
    assert script.returncode == 1 and script.stderr == ""
    assert printed == ["['--watch', 'b']"]
    first, *blocked, last = lines
    assert first.endswith("does not patch by itself: checked as python -m gevlite.monkey runs it.")
    assert re.fullmatch(r".*: \d lines? blocked all greenlets for longer than 0.1 s.", last)
    names = r"blocked: (spin|found|found\.<locals>\.<genexpr>) \("
    assert blocked and all(re.match(names, line) for line in blocked), blocked
    seconds = [float(re.search(r"(?:once, |times, )(\d+\.\d) s", line)[1]) for line in blocked]
    assert seconds == sorted(seconds, reverse=True) and seconds[0] > 0
    assert re.fullmatch(r"blocked: .* \(.*:\d+\), .*\d\.\d s.*; 2 others waited\.", blocked[0])


def test_the_report_may_be_written_while_a_line_is_found():
    class Late:
        hub, run, seconds, others, calls = None, 7, 0.5, 2, ()
        place = ("app.py", 3, "spin")

        def cure(self):
            seen.append(found.lines())
            return "Do not."

    found, seen = Found(), []
    found(Late())
    found(Late())
    [line] = found.lines()
    assert re.fullmatch(r"blocked: spin \(.*app.py:3\), once, 0.5 s; 2 others waited. Do not.", line)
    assert seen == [[], [line]]


def test_a_program_in_which_nothing_blocks_ends_with_its_own_status(watched, script):
    lines, _ = watched("gevlite.sleep(0.001)\nsys.exit(7)", head="import gevlite, sys\n")
    assert script.returncode == 7 and script.stderr == ""
    assert lines[-1].endswith(": nothing blocked all greenlets for longer than 0.1 s.")


def test_what_blocks_is_more_than_the_programs_own_status(watched, script):
    lines, printed = watched("gevlite.spawn(spin, 1).join()\nsys.exit('a reason')")
    assert script.returncode == 1 and "1 line blocked" in lines[-1] and printed == ["a reason"]


def test_an_error_is_shown_and_reported_is_what_was_found_until_then(watched, script):
    lines, _ = watched("gevlite.spawn(spin, 1).join()\n1 / 0")
    assert script.returncode == 1 and "ZeroDivisionError" in script.stderr
    assert "1 line blocked" in lines[-1]


def test_a_remedy_is_named_for_originals_and_drivers(watched, script):
    lines, _ = watched(
        """
        def early():
            while not any("original" in line for line in _blocked.report_to.lines()):
                nap(0.05)

        def query():
            connection = sqlite3.connect(":memory:")
            while not any("sqlite3" in line for line in _blocked.report_to.lines()):
                connection.execute("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 300000) "
                                   "SELECT max(x) FROM c").fetchone()
            connection.close()

        gevlite.spawn(early).join()
        gevlite.spawn(query).join()
        """,
        head="from time import sleep as nap\nfrom gevlite import monkey\nmonkey.patch_all()\n" + HEAD,
    )
    text = "\n".join(lines)
    assert "time.sleep is the original here, which blocks all greenlets" in text
    assert "_sqlite3 reads and locks files; a long query blocks all greenlets; for long queries call it through" in text
    assert "does not patch" not in text


def test_a_child_reports_nothing(watched, script):
    lines, printed = watched("if not os.fork():\n    sys.exit(3)\nprint(os.wait()[1] >> 8)")
    assert [line for line in lines if "longer than" in line] == lines[-1:] and printed == ["3"]


@pytest.mark.parametrize(
    ("options", "environment", "complaint"),
    [
        (["--watch"], {}, "--watch goes with --check"),
        (["--check", "--watch"], {"GEVLITE_WATCH": "0"}, "--watch needs the watch, and GEVLITE_WATCH turns it off"),
        (["--check", "--watch"], {"GEVLITE_WATCH": "x"}, "GEVLITE_WATCH must be a number of seconds"),
    ],
)
def test_bad_options_are_errors(options, environment, complaint, script, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    program = script.write("print('ran')")
    assert script.python("-m", "gevlite.monkey", *options, program) == "" and script.returncode == 2
    assert complaint in script.stderr
