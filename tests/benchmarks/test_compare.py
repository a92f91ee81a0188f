"""`python -m benchmarks compare`: the cases that got slower between two runs."""

import sys

import pytest
from canned import echo, report, switch, timers

from benchmarks import __main__ as command
from benchmarks.compare import FAILS, FASTER, GONE, SAME, SLOWER, compare, show


@pytest.fixture
def run_compare(tmp_path, monkeypatch, capsys):
    """Runs the command on two reports; its exit status and what it printed."""

    def run(old, new, *options):
        for name, each in (("old", old), ("new", new)):
            each.save(tmp_path / f"{name}.json")
        paths = [str(tmp_path / "old.json"), str(tmp_path / "new.json")]
        monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", *paths, *options])
        return command.main(), capsys.readouterr().out

    return run


def test_nothing_slower_is_a_success(run_compare):
    status, text = run_compare(report(), report())
    assert status == 0
    assert text.splitlines()[-1].startswith("0 slower, 0 faster")


def test_slower_is_named_and_fails(run_compare):
    status, text = run_compare(report(switch()), report(switch(factor=1.5)))
    assert status == 1
    assert "slower 1.50x: `sleep(0)`, 100 greenlets: 1.1 µs -> 1.65 µs" in text


def test_faster_is_named_and_succeeds(run_compare):
    status, text = run_compare(report(switch(factor=2)), report(switch()))
    assert status == 0
    assert "faster 2.00x" in text


def test_runs_that_overlap_are_the_same():
    # 1.0 to 1.2 against 1.15 to 1.38: the medians are 15 % apart, within the spread.
    (change,) = compare(report(switch()), report(switch(factor=1.15)))
    assert change.verdict == SAME


def test_less_than_the_threshold_is_the_same_however_narrow_the_spread():
    (change,) = compare(report(echo(100_000)), report(echo(95_000)))
    assert change.verdict == SAME
    (change,) = compare(report(echo(100_000)), report(echo(95_000)), threshold=0.02)
    assert change.verdict == SLOWER


def test_less_throughput_is_slower():
    (change,) = compare(report(echo(100_000)), report(echo(50_000)))
    assert change.verdict == SLOWER
    assert change.worse == pytest.approx(2)
    (change,) = compare(report(echo(50_000)), report(echo(100_000)))
    assert change.verdict == FASTER


def test_each_metric_is_compared():
    new = timers(1_000)
    new.turns["gevlite"]["fire"] = [9e-7, 9e-7]
    changes = compare(report(timers(1_000)), report(new))
    assert [(change.what, change.verdict) for change in changes] == [
        ("a timer among 1,000: add", SAME),
        ("a timer among 1,000: fire", SLOWER),
    ]


def test_a_case_that_fails_now_is_a_failure(run_compare):
    new = switch()
    new.errors["gevlite"] = "RuntimeError: oops"
    (change,) = compare(report(switch()), report(new))
    assert change.verdict == FAILS
    status, text = run_compare(report(switch()), report(new))
    assert status == 1
    assert "RuntimeError: oops" in text


def test_a_case_that_is_not_there_any_more_is_told():
    changes = compare(report(switch(), echo()), report(echo()))
    assert [change.verdict for change in changes] == [GONE, SAME]
    assert show(report(), report(), changes, "")[1] == 0


def test_against_another_library_only_ratios_count(run_compare):
    slow_machine = switch(factor=3)
    slow_machine.turns["gevent"]["time"] = [value * 3 for value in slow_machine.turns["gevent"]["time"]]
    old, new = report(switch()), report(slow_machine, cpu="another CPU")
    status, text = run_compare(old, new)
    assert status == 1
    assert "The machines differ" in text
    status, text = run_compare(old, new, "--against", "gevent")
    assert status == 0
    assert "The machines differ, so" not in text
    assert "cpu: a CPU -> another CPU" in text


def test_a_library_without_figures_is_an_error(run_compare):
    with pytest.raises(SystemExit) as exit:
        run_compare(report(), report(), "--library", "nobody")
    assert exit.value.code == 2


def test_a_file_that_is_no_result_is_an_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.json").write_text("[]")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")])
    with pytest.raises(SystemExit):
        command.main()
    assert "is not a result" in capsys.readouterr().err
