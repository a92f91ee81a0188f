"""Builds of Python without the GIL: it is on, and no surprising message mentions it."""

import re
import sys
from pathlib import Path

import pytest

import gevlite
from gevlite import _gil

ROOT = Path(__file__).parents[1]

# Simulates a build without the GIL, as far as it can be seen from here: what the interpreter does when it loads a
# compiled module.
PRETEND = """
import sys, warnings
sys.abiflags = "t"
enabled = False
sys._is_gil_enabled = lambda: enabled
kept_off = sys.argv[1:] == ["kept off"]

class Loading:
    def find_spec(self, name, path=None, target=None):
        global enabled
        if name.startswith("gevlite._backend") and not kept_off and not enabled:
            enabled = True
            warnings.warn("The global interpreter lock (GIL) has been enabled to load module", RuntimeWarning)
        assert enabled or kept_off or name not in compiled, f"{name} is loaded first"

compiled = {"gevlite._core", "gevlite._socketio", "gevlite._threadlock", "gevlite.event", "gevlite.lock"}
sys.meta_path.insert(0, Loading())
"""


def test_no_module_declares_that_it_can_do_without():
    for path in [*ROOT.glob("gevlite/**/*.p*"), *ROOT.glob("backends/*.p*"), ROOT / "setup.py"]:
        if path.suffix in (".pyx", ".pxd", ".pxi", ".py"):
            assert not re.search(r"freethreading_compatible|MOD_GIL_NOT_USED", path.read_text()), path


def test_importing_turns_it_on_in_silence(run_script):
    program = PRETEND + "import gevlite\nfrom gevlite import _gil\nprint(enabled, _gil.state())"
    done = run_script(program, flags=["-W", "error"])
    assert done.stdout == "True on, because gevlite needs it; this is a free-threaded build\n"
    assert done.stderr == ""


def test_where_it_is_kept_off_there_is_a_warning(run_script):
    done = run_script(PRETEND + "import gevlite\nfrom gevlite import _gil\nprint(_gil.state())", "kept off")
    assert done.stdout.startswith("kept off by PYTHON_GIL=0")
    assert done.stderr.count("RuntimeWarning") == 1 and "gevlite is not safe with PYTHON_GIL=0" in done.stderr


@pytest.mark.skipif(_gil.FREE_THREADED, reason="a build that can do without")
def test_other_builds_have_it():
    assert _gil.state() == "on"


@pytest.mark.skipif(not _gil.FREE_THREADED, reason="a build with the GIL")
def test_it_is_on(run_script):
    assert gevlite.__version__ and sys._is_gil_enabled()
    done = run_script("import sys, gevlite; assert sys._is_gil_enabled()", flags=["-W", "error"])
    assert done.stderr == ""
