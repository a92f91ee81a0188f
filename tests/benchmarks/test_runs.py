"""The runner: turns, failures, the cases themselves, and the progress line."""

import io
import sys
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as command, run
from benchmarks.case import CASES, Case, Metric, load_cases
from benchmarks.progress import Progress
from benchmarks.run import run_case, run_worker

load_cases()


@pytest.fixture
def case():
    made = Case("of_a_test", "of a test", metrics=(Metric("time"),))
    yield made
    del CASES["of_a_test"]


@pytest.fixture
def workers(monkeypatch):
    """Answers in place of worker processes: `answers[library]` is a list, one for each turn. Returns what ran."""
    answers, ran = {}, []

    def answer(case, library, rounds):
        ran.append(library)
        return answers[library].pop(0)

    monkeypatch.setattr(run, "run_worker", answer)
    return SimpleNamespace(answers=answers, ran=ran)


def rounds(*figures):
    return {"rounds": [{"time": figure} for figure in figures]}


def nothing(*args):
    pass


def test_libraries_take_turns(case, workers):
    workers.answers.update(a=[rounds(1, 3, 2), rounds(4)], b=[rounds(5), rounds(6)])
    result = run_case(case, ["a", "b"], 2, 3, nothing)
    assert workers.ran == ["a", "b", "a", "b"]
    assert result.turns == {"a": {"time": [2, 4]}, "b": {"time": [5, 6]}}  # the median of a turn's rounds


def test_a_library_that_fails_is_reported_and_the_others_go_on(case, workers):
    workers.answers.update(a=[rounds(1), {"error": "no"}], b=[rounds(1)] * 3)
    result = run_case(case, ["a", "b"], 3, 1, nothing)
    assert workers.ran == ["a", "b", "a", "b", "b"]
    assert result.errors == {"a": "no"}
    assert result.turns == {"a": {"time": [1]}, "b": {"time": [1, 1, 1]}}
    assert result.libraries == ["a", "b"]


def test_a_case_that_takes_long_has_fewer_turns_and_says_so(case, workers):
    case.most_turns = 2
    workers.answers.update(a=[rounds(1)] * 5)
    result = run_case(case, ["a"], 5, 1, nothing)
    assert len(workers.ran) == 2
    assert "2 turns only" in result.remarks


def test_a_disturbed_measurement_says_so(case, workers):
    workers.answers.update(a=[{"rounds": [{"time": 1, "cpu": 1, "wall": 2}]}])
    assert run_case(case, ["a"], 1, 1, nothing).remarks == ["other processes took 50% of the time"]


def test_a_worker_measures_one_case_for_one_library():
    for library in ("gevlite", "gevlite:select", "threads"):
        answer = run_worker(CASES["semaphore"], library, 2)
        assert len(answer["rounds"]) == 2, answer
        for figures in answer["rounds"]:
            assert 0 < figures["time"] < 0.001


def test_a_worker_that_cannot_work_says_why():
    answer = run_worker(CASES["semaphore"], "python", 1)
    assert answer == {"error": "KeyError: 'python'"}
    assert "nonesuch" in run_worker(CASES["spawn"], "gevlite:nonesuch", 1)["error"]


def test_every_case_is_measured_for_gevlite_and_by_pytest_too():
    for case in CASES.values():
        assert "gevlite" in case.bodies, case.name
        module = sys.modules[f"benchmarks.test_{case.subject}"]
        assert hasattr(module, f"test_{case.name}"), case.name


def test_other_backends_are_measured_where_they_matter():
    others = ["gevlite:select"]
    assert command.libraries_of(CASES["echo"], ["gevlite", "gevent", "greenlet"], others) == [
        "gevlite",
        "gevent",
        "gevlite:select",
    ]
    assert command.libraries_of(CASES["semaphore"], ["gevlite", "gevent"], others) == ["gevlite", "gevent"]


def test_a_run_prints_the_table_and_writes_the_report(case, workers, tmp_path, monkeypatch, capsys):
    case.bodies["gevlite"] = case.bodies["gevent"] = nothing
    workers.answers.update(gevlite=[rounds(1e-6)] * 2, gevent=[rounds(3e-6)] * 2)
    arguments = ["--only", "of_a_test", "--turns", "2", "--python-libs", "gevlite,gevent"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "--output", str(tmp_path)])
    assert command.main() == 0
    captured = capsys.readouterr()
    assert "| of a test | 1 µs | 3 µs · 3.00x |" in captured.out
    assert "[  0%] of_a_test\n" in captured.err
    before = (tmp_path / "results.md").read_text()
    (tmp_path / "results.md").unlink()
    monkeypatch.setattr(sys, "argv", ["benchmarks", "draw", str(tmp_path / "results.json"), str(tmp_path)])
    assert command.main() == 0
    assert (tmp_path / "results.md").read_text() == before


@pytest.mark.parametrize("arguments", [["--only", "nonesuch"], ["--python-libs", "nonesuch"]])
def test_an_unknown_name_is_refused_with_those_that_there_are(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit):
        command.main()
    assert "nonesuch; there are" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_line_with_what_is_left():
    now = [0.0]
    stream = Terminal()
    progress = Progress(4, stream, lambda: now[0])
    for turn in range(2):
        for library in ("gevlite", "gevent"):
            progress(SimpleNamespace(name="sleep0"), library, turn)
            now[0] += 10
    progress.end()
    written = stream.getvalue().split("\r\033[K")
    assert written == [
        "",
        "[  0%] sleep0, turn 1: gevlite",
        "[ 25%] sleep0, turn 1: gevent, about 30 s left",
        "[ 50%] sleep0, turn 2: gevlite, about 20 s left",
        "[ 75%] sleep0, turn 2: gevent, about 10 s left",
        "4 measurements in 40 s\n",
    ]


def test_progress_in_a_log_is_a_line_for_each_case():
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(4, stream, lambda: now[0])
    for case in (SimpleNamespace(name="first"), SimpleNamespace(name="second")):
        for library in ("gevlite", "gevent"):
            progress(case, library, 0)
            now[0] += 100
    progress.end()
    assert stream.getvalue() == "[  0%] first\n[ 50%] second, about 3 min left\n4 measurements in 7 min\n"
