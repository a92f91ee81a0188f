"""`python -m gevlite` on a terminal: a prompt in which greenlets run; and `-i` after a program."""

import sys

import pytest
from terminals import Terminal

# Each starts a process or two, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(180)

# From Python 3.13 on there is another console; it is used unless PYTHON_BASIC_REPL is set.
CONSOLES = ["readline", "plain"] + (["new"] if sys.version_info >= (3, 13) else [])


@pytest.fixture(params=CONSOLES)
def console(request, tmp_path):
    """The environment in which the prompt has this console."""
    (tmp_path / "readline.py").write_text("raise ImportError('left out')\n")
    environment = {
        "readline": {"PYTHON_BASIC_REPL": "1"},
        "plain": {"PYTHON_BASIC_REPL": "1", "PYTHONPATH": str(tmp_path)},
        "new": {"PYTHON_BASIC_REPL": None},
    }[request.param]
    if request.param == "readline":
        pytest.importorskip("readline")
    home = {"HOME": str(tmp_path), "PYTHON_HISTORY": str(tmp_path / "history"), "PYTHONSTARTUP": None}
    return {**home, **environment, "name": request.param}


@pytest.fixture
def prompt(console):
    """A prompt that waits for its first line."""
    environment = {name: value for name, value in console.items() if name != "name"}
    with Terminal("-m", "gevlite", **environment) as terminal:
        terminal.expect(">>> import gevlite\n")
        terminal.expect(">>> ")
        yield terminal


def test_greenlets_run_while_it_waits_for_input(prompt):
    prompt.type("gevlite.spawn_later(0.01, print, 6 * 7) and None\n")
    prompt.expect(r"\b42\n")
    prompt.type("import threading; threading.Timer(0.01, lambda: print('a' + 'b')).start()\n")
    prompt.expect("ab\n")


def test_a_statement_may_have_several_lines(prompt):
    prompt.type("def double(number):\n")
    prompt.expect(r"\.\.\. ")
    prompt.type("    return 2 * number\n\n")
    prompt.expect(">>> ")
    prompt.type("double(21)\n")
    prompt.expect(r"\n42\n")


def test_the_value_of_an_expression_is_in_the_underscore(prompt):
    prompt.type("6 * 7\n")
    prompt.expect(r"\n42\n[^\0]*>>> ")
    prompt.type("_ + 1\n")
    prompt.expect(r"\n43\n")


def test_an_error_is_shown_with_its_own_frames_only(prompt):
    prompt.type("def fail(): raise KeyError('wanted')\n\n")
    prompt.expect(r"\n[^\0]*>>> ")
    began = len(prompt.text)
    prompt.type("fail()\n")
    prompt.expect(r"KeyError: 'wanted'\n[^\0]*>>> ")
    shown = prompt.text[began:]
    assert shown.count("  File ") == 2 and "gevlite" not in shown


def test_ctrl_c_drops_the_line_or_ends_the_wait(prompt, console):
    prompt.type("half a li")
    if console["name"] != "plain":  # there the terminal keeps it until the line is complete
        prompt.expect("half a li")
    prompt.type("\x03")
    prompt.expect("KeyboardInterrupt\n")
    prompt.expect(">>> ")
    prompt.type("gevlite.sleep(0)\n")  # which makes the hub
    prompt.expect(">>> ")
    prompt.type("print('be' + 'gun') or gevlite.sleep(1000)\n")  # one statement: Ctrl-C may come before the sleep
    prompt.expect("begun\n")
    began = len(prompt.text)
    prompt.type("\x03")
    prompt.expect("KeyboardInterrupt\n[^\0]*>>> ")
    assert prompt.text[began:].count("  File ") == 1
    prompt.type("6 * 7\n")
    prompt.expect(r"\n42\n")


def test_end_of_file_ends_it_and_so_does_exit(prompt, console):
    prompt.type("\x04")
    assert prompt.wait() == 0
    with Terminal("-m", "gevlite", **{name: value for name, value in console.items() if name != "name"}) as another:
        another.expect(">>> import gevlite\n")
        another.expect(">>> ")
        another.type("exit(3)\n")
        assert another.wait() == 3


def test_names_are_completed_and_lines_come_back(prompt, console):
    if console["name"] == "plain":
        pytest.skip("the terminal itself can do neither")
    prompt.type("gevlite.spawn_l\t")
    prompt.expect("spawn_later")
    prompt.type("\x15six = 6; print(six * 7)\n")
    prompt.expect(r"\n42\n")
    prompt.expect(">>> ")
    prompt.type("\x10\n")
    prompt.expect(r"\n42\n")


def test_a_timeout_that_ends_the_wait_for_input_ends_nothing_else(prompt):
    prompt.type("gevlite.Timeout.start_new(0.1) and None\n")
    prompt.expect(r"gevlite\.timeout\.Timeout: 0\.1 seconds")
    prompt.expect(">>> ")
    prompt.type("6 * 7\n")
    prompt.expect(r"\n42\n")


def test_interactive_after_a_program_that_fails(tmp_path, console):
    (tmp_path / "script.py").write_text("import sys\nnumber = 6\ndef f(): raise SystemExit(len(sys.argv))\nf()\n")
    environment = {name: value for name, value in console.items() if name != "name"}
    with Terminal("-m", "gevlite", "run", "-i", "script.py", "-x", cwd=tmp_path, **environment) as terminal:
        terminal.expect(r"SystemExit: 2\n")
        terminal.expect(">>> ")
        assert terminal.text.count("  File ") == 2 and "gevlite" not in terminal.text
        terminal.type("number * 7, f.__module__\n")
        terminal.expect(r"\n\(42, '__main__'\)\n")
        terminal.type("exit(3)\n")
        assert terminal.wait() == 3


def test_a_small_terminal(console):
    environment = {name: value for name, value in console.items() if name != "name"}
    with Terminal("-m", "gevlite", columns=30, **environment) as terminal:
        terminal.expect(">>> import gevlite\n")
        terminal.type("gevlite.sleep(0) or 'a text that is longer than a line of the terminal'.upper()[2:6]\n")
        terminal.expect(r"'TEXT'\n")
        terminal.expect(">>> ")  # an end of file typed earlier would be a character of the line
        terminal.type("\x04")
        assert terminal.wait() == 0
