"""The check on instruction counts, with dumps as callgrind writes them."""

import json

import pytest

from benchmarks import instructions
from benchmarks.case import load_cases


def dump(trigger, summary):
    return f"version: 1\ncreator: callgrind-3.19.0\ndesc: Trigger: {trigger}\nfn=(1) f\n1 2\nsummary: {summary}\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of one operation, for this Python, and what a count of it would give now."""
    path = tmp_path / "instructions.json"
    version = "{}.{}".format(*instructions.sys.version_info)
    path.write_text(json.dumps({version: {"counted with": "another", "operations": {"sleep0": 1000}}}))
    now = {"sleep0": 1000}
    monkeypatch.setattr(instructions, "TABLE", path)
    monkeypatch.setattr(instructions, "count", lambda operations: now)
    monkeypatch.setattr(instructions.sys, "argv", ["instructions"])
    return path, now


def test_dumps_are_told_apart_by_their_names_and_the_one_at_exit_is_left_out():
    dumps = [
        dump("Client Request: sleep0 10", 500),
        dump("Client Request: sleep0 20", 900),
        dump("Program termination", 77),
    ]
    assert instructions.parse(dumps) == {("sleep0", 10): 500, ("sleep0", 20): 900}


def test_every_operation_is_a_case_of_gevlite_that_runs_for_a_number_of_times():
    cases = load_cases()
    for name in instructions.OPERATIONS:
        assert "gevlite" in cases[name].bodies
        assert cases[name].rounds is None  # a body that measures by itself has rounds of its own


def test_the_table_in_the_repository_has_every_operation():
    """For one version of Python at least."""
    tables = [counted["operations"].keys() for counted in json.loads(instructions.TABLE.read_text()).values()]
    assert all(names <= instructions.OPERATIONS.keys() for names in tables)
    assert instructions.OPERATIONS.keys() in tables


def test_growth_within_the_limit_passes(table, capsys):
    table[1]["sleep0"] = 1100
    assert instructions.main() == 0
    assert "+10.0%" in capsys.readouterr().out


def test_growth_beyond_the_limit_fails_and_says_what_to_do(table, capsys):
    table[1]["sleep0"] = 1101
    assert instructions.main() == 1
    out = capsys.readouterr().out
    assert "more than 10% above the table" in out
    assert "--update" in out
    assert "The table was counted with another." in out


def test_an_operation_that_is_not_in_the_table_fails(table, capsys):
    table[1]["another"] = 1
    assert instructions.main() == 1
    assert "not in the table" in capsys.readouterr().out


def test_an_update_keeps_the_tables_of_other_pythons(table, monkeypatch):
    path, now = table
    path.write_text(json.dumps({"2.7": {"counted with": "x", "operations": {}}}))
    now["sleep0"] = 2000
    monkeypatch.setattr(instructions.sys, "argv", ["instructions", "--update"])
    assert instructions.main() == 0
    written = json.loads(path.read_text())
    assert set(written) == {"2.7", "{}.{}".format(*instructions.sys.version_info)}
    monkeypatch.setattr(instructions.sys, "argv", ["instructions"])
    assert instructions.main() == 0


def test_a_python_without_a_table_is_skipped_with_a_reason(table, capsys):
    table[0].write_text("{}")
    assert instructions.main() == 0
    assert "skipped, the table has no counts for Python" in capsys.readouterr().out


def test_without_valgrind_it_is_skipped_with_a_reason(table, monkeypatch, capsys):
    def count(operations):
        raise instructions.Unavailable("valgrind is not installed")

    monkeypatch.setattr(instructions, "count", count)
    assert instructions.main() == 0
    assert "skipped, valgrind is not installed" in capsys.readouterr().out


def test_settings_of_gevlite_and_python_do_not_reach_what_is_counted(monkeypatch):
    monkeypatch.setenv("GEVLITE_BACKEND", "select")
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    environment = instructions.environment()
    assert "GEVLITE_BACKEND" not in environment
    assert "PYTHONDEVMODE" not in environment
    assert environment["PYTHONHASHSEED"] == "0"
