"""`python -m gevlite run`, and the program in standard input: as if Python itself ran it, but patched."""

import array
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios

import pytest
from processes import until

REPORT = """
import json, sys, time
main = sys.modules["__main__"]
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "name": __name__, "file": globals().get("__file__"), "package": __package__,
    "spec": __spec__ and __spec__.name, "loader": getattr(__loader__, "__name__", type(__loader__).__name__),
    "is_main": main.__dict__ is globals(), "patched": time.sleep.__module__ != "time",
}))
"""
FAIL = "def fail():\n    raise KeyError('wanted')\nfail()\n"
SYNTAX = "print('never printed')\ndef f(:\n"

WAYS = ["script", "-m", "-c", "-", "nothing", "folder"]


@pytest.fixture
def run(tmp_path):
    """`run(way, code, *arguments, patched=...)`: the result of Python itself or of gevlite."""

    def run(way, code, *arguments, patched, options=()):
        (tmp_path / "program.py").write_text(code)
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / "__main__.py").write_text(code)
        what = {
            "script": ["program.py"],
            "-m": ["-m", "program"],
            "-c": ["-c", code],
            "-": ["-"],
            "nothing": [],
            "folder": ["folder"],
        }[way]
        before = ["-m", "gevlite", *([] if way == "nothing" else ["run", *options])] if patched else []
        return subprocess.run(
            [sys.executable, *before, *what, *arguments],
            input=code if way in ("-", "nothing") else "",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=50,
            env={**os.environ, "NO_COLOR": "1"},
        )

    return run


def facts(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("way", WAYS)
def test_the_program_finds_what_python_gives_it(run, way):
    arguments = [] if way == "nothing" else ["one", "-c", "--no-thread"]
    plain = facts(run(way, REPORT, *arguments, patched=False))
    patched = facts(run(way, REPORT, *arguments, patched=True))
    assert (plain.pop("patched"), patched.pop("patched")) == (False, True)
    if way == "nothing":
        patched["argv"], plain["argv"] = [], []  # "-" and ""
    assert patched == plain


@pytest.mark.parametrize("way", WAYS)
def test_an_error_is_shown_with_the_programs_frames_only(run, way):
    result = run(way, FAIL, patched=True)
    assert result.returncode == 1
    assert result.stderr.count("  File ") == 2 and result.stderr.endswith("KeyError: 'wanted'\n")
    if way not in ("-m", "folder"):  # there Python shows frames of its own
        plain = run(way, FAIL, patched=False)
        assert files(result) == files(plain) != []


def files(result):
    return [line for line in result.stderr.splitlines() if line.startswith("  File ")]


@pytest.mark.parametrize("way", WAYS)
def test_a_syntax_error_is_shown_without_frames(run, way):
    result = run(way, SYNTAX, patched=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("  File ") == 1 and "line 2" in result.stderr and "SyntaxError" in result.stderr


@pytest.mark.parametrize("way", ["script", "-c", "-", "-m"])
@pytest.mark.parametrize(
    ("end", "code", "text"),
    [
        ("pass", 0, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('a text')", 1, "a text\n"),
        ("import os; os._exit(9)", 9, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
    ],
)
def test_the_exit_code_is_pythons(run, way, end, code, text):
    result = run(way, end + "\n", patched=True)
    assert (result.returncode, result.stderr) == (code, text)


@pytest.mark.parametrize("way", ["script", "-c", "-m"])
def test_ctrl_c_ends_it_by_the_signal_and_shows_few_lines(run, way):
    code = (
        "import os, signal, subprocess, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "subprocess.Popen(['sh', '-c', f'sleep 1; kill -INT {os.getpid()}'])\n"
        "time.sleep(1000)\n"
    )
    result = run(way, code, patched=True)
    assert result.returncode == -signal.SIGINT
    assert result.stderr.endswith("KeyboardInterrupt\n")
    assert result.stderr.count("  File ") == 1 and "line 4" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["run", "-"]])
def test_ctrl_c_before_the_program_has_come_shows_no_frames(arguments):
    command = [sys.executable, "-m", "gevlite", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdin.write(b"print('never')\n")
        process.stdin.flush()
        until(lambda: unread(process.stdin) == 0, "a process that reads")
        process.send_signal(signal.SIGINT)
        process.wait(50)
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"KeyboardInterrupt\n")
        assert process.returncode == -signal.SIGINT


def unread(pipe):
    """How many of the written bytes are still in it."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe.fileno(), termios.FIONREAD, size)
    return size[0]


def test_a_hook_of_the_program_gets_its_own_frames(run):
    code = (
        "import sys, traceback\n"
        "def hook(kind, value, tb): print(kind.__name__, len(traceback.extract_tb(tb)))\n"
        "sys.excepthook = hook\n1 / 0\n"
    )
    result = run("script", code, patched=True)
    assert (result.returncode, result.stdout, result.stderr) == (1, "ZeroDivisionError 1\n", "")


def test_an_error_of_an_imported_package_is_the_programs(run, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("1 / 0\n")
    result = subprocess.run(
        [sys.executable, "-m", "gevlite", "run", "-m", "broken.inner"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=50,
    )
    assert result.returncode == 1 and result.stderr.count("  File ") == 1, result.stderr


@pytest.mark.parametrize("arguments", [["-c"], ["-m"], ["-x"], ["-ix", "script.py"], [], ["--check", "-i"]])
def test_bad_options_are_told_with_the_usage_of_the_command(arguments):
    result = subprocess.run(
        [sys.executable, "-m", "gevlite", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        stdin=subprocess.DEVNULL,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: python -m gevlite run [option ...] script.py")
    assert "\nrun: error: " in result.stderr and "Traceback" not in result.stderr
    assert "--no-AREA" not in result.stderr  # the list of the options is for --help


SPIN = """
import threading
ended = []
threading.Thread(target=ended.append, args=("ended",)).start()
while not ended:
    pass
print(*ended)
"""


@pytest.mark.parametrize("way", ["script", "-c", "-m"])
def test_time_slices_by_an_option(run, way):
    result = run(way, SPIN, patched=True, options=["--time-slice", "0.005"])
    assert (result.returncode, result.stdout) == (0, "ended\n"), result.stderr


def test_the_option_overrides_the_variable(run, monkeypatch):
    monkeypatch.setenv("GEVLITE_TIME_SLICE", "0.02")
    code = "import gevlite; gevlite.get_hub(); print(gevlite.config.time_slice)"
    assert run("-c", code, patched=True).stdout == "0.02\n"
    assert run("-c", code, patched=True, options=["--time-slice=0"]).stdout == "0.0\n"


MUST_BE = "must be a number of seconds, at least 0.001, or 0 for off, not"


@pytest.mark.parametrize(
    ("arguments", "variable", "message"),
    [
        (["--time-slice"], "", "--time-slice needs a value"),
        (["--time-slice", "soon", "-c", "print(1)"], "", f"--time-slice {MUST_BE} 'soon'"),
        (["--time-slice=1e-6", "-c", "print(1)"], "", f"--time-slice {MUST_BE} '1e-6'"),
        (["-c", "print(1)"], "soon", f"GEVLITE_TIME_SLICE {MUST_BE} 'soon'"),
    ],
)
def test_a_bad_time_slice_is_one_line_after_the_usage(arguments, variable, message):
    result = subprocess.run(
        [sys.executable, "-m", "gevlite", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "GEVLITE_TIME_SLICE": variable},
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == f"run: error: {message}"


def test_areas_are_left_out_before_code_too(run):
    code = "import threading, time; print(threading.Lock.__module__, time.sleep.__module__ != 'time')\n"
    result = run("-c", code, patched=True, options=["--no-thread"])
    assert result.stdout == "_thread True\n", result.stdout


def test_interactive_reads_what_follows_from_a_pipe(run):
    result = subprocess.run(
        [sys.executable, "-m", "gevlite", "run", "-i", "-c", "number = 6"],
        input="print(number * 7)\nimport sys\nsys.exit(3)\n",
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 3 and "42\n" in result.stdout
