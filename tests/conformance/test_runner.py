"""The comparison must not overlook tests without a result."""

import os
import subprocess
import sys

import pytest
import runner

TESTS = """
import os
import unittest

PATCHED = os.environ["GEVLITE_CONFORMANCE_PATCH"] == "1"


class Tests(unittest.TestCase):
    def test_one(self):
        pass

    def test_two(self):
        pass
"""

HOW = {
    "crashes at import": "if PATCHED: os._exit(3)",
    "fails at import": "if PATCHED: raise ImportError",
    "is skipped at import": "if PATCHED: raise unittest.SkipTest('nothing for me')",
    "has no tests": "if PATCHED: del Tests",
    "fails in setUpModule": "def setUpModule():\n    if PATCHED: raise OSError",
    "ends in the first test": "if PATCHED: Tests.test_one = lambda self: os._exit(0)",
    "ends in every test": "if PATCHED: Tests.setUp = lambda self: os._exit(0)",
    "does not end": "import atexit, time\nif PATCHED: atexit.register(time.sleep, 1000)",
    "crashes at the end": "import atexit\nif PATCHED: atexit.register(os.abort)",
}
DIFFER = dict.fromkeys(HOW, 2) | {"ends in the first test": 1, "does not end": 0, "crashes at the end": 0}


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(runner, "module_names", lambda name: [name])

    def compare(text):
        (tmp_path / "sample.py").write_text(TESTS + text)
        code = runner.main(["sample", "--jobs=1", "--limit=10"])
        return code, capsys.readouterr().out

    return compare


def test_the_same_both_ways_is_no_difference(compare):
    code, output = compare("")
    assert "2 of 2 tests that pass unpatched pass patched; 0 differ" in output
    assert code == 0


@pytest.mark.parametrize("how", HOW)
def test_a_module_without_results_patched_differs(compare, how):
    code, output = compare(HOW[how])
    differ = DIFFER[how]
    assert f"{2 - differ} of 2 tests that pass unpatched pass patched; {differ} differ, {differ} of them unex" in output
    assert code == 1


def test_a_module_that_does_not_run_unpatched_is_named(compare):
    _code, output = compare("if not PATCHED: os._exit(3)")
    assert "0 of 0 tests that pass unpatched" in output
    assert "NOT COMPARED, since it does not run unpatched: sample: " in output


@pytest.mark.parametrize("how", ["crashes at import", "fails at import", "ends in every test"])
def test_one_module_compared_alone_differs_too(tmp_path, monkeypatch, how):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sample.py").write_text(TESTS + HOW[how])
    _plain, _patched, different = runner.compare_module("sample", limit=20)
    assert set(different) == {"sample.Tests.test_one", "sample.Tests.test_two"}


def test_signals_that_are_ignored_in_the_background_work_in_a_module(tmp_path):
    """A shell without job control ignores two in what it starts there, and nohup one more."""
    (tmp_path / "module_with_signals.py").write_text(
        "import signal, subprocess, sys, unittest\n"
        "class Tests(unittest.TestCase):\n"
        "    def test_it(self):\n"
        "        code = 'import signal; print([signal.getsignal(n) == signal.SIG_IGN for n in (1, 2, 3)])'\n"
        "        said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout\n"
        "        self.assertEqual(said, '[False, False, False]\\n')\n"
        "        with self.assertRaises(KeyboardInterrupt):\n"
        "            signal.raise_signal(signal.SIGINT)\n"
    )
    program = (
        "import signal, sys\n"
        f"sys.path.insert(0, {str(runner.HERE)!r})\n"
        "for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT): signal.signal(number, signal.SIG_IGN)\n"
        "import runner\n"
        "results = runner.run_module('module_with_signals', patched=False)\n"
        "print([(test['outcome'], test['text']) for test in results.tests.values()])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.stdout == "[('passed', '')]\n", result.stdout + result.stderr
