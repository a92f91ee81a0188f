"""`python -m gevlite`: its output and its exit code."""

import os
import re
import resource
import subprocess
import sys

import pytest
from terminals import Terminal

import gevlite
from gevlite import backends


def gevlite_command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "gevlite", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        stdin=subprocess.DEVNULL,
    )


def test_version_is_that_of_the_package():
    result = gevlite_command("--version")
    assert result.returncode == 0
    assert result.stdout == f"gevlite {gevlite.__version__}\n"


def test_help_lists_the_commands_and_tells_of_the_prompt():
    result = gevlite_command("--help")
    assert result.returncode == 0
    for name in ("demo", "info", "run", "serve", "Without a command: a prompt"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("script.py", "to run a program: python -m gevlite run script.py ..."),
        ("-c", "to run a program: python -m gevlite run -c ..."),
        ("rnu", "there is no command 'rnu'; did you mean run?"),
        ("sevre", "there is no command 'sevre'; did you mean serve?"),
    ],
)
def test_a_likely_mistake_is_told_with_what_was_meant(word, message):
    result = gevlite_command(word)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == f"python -m gevlite: error: {message}"


def test_no_command_runs_the_program_in_standard_input():
    assert (gevlite_command().returncode, gevlite_command().stderr) == (0, "")  # the program in stdin, which is empty


def test_info_names_versions_and_every_backend():
    import greenlet

    result = gevlite_command("info", GEVLITE_BACKEND="")
    assert result.returncode == 0, result.stderr
    assert gevlite.__version__ in result.stdout
    assert greenlet.__version__ in result.stdout
    assert re.search(r"^GIL +on", result.stdout, re.MULTILINE)
    for name, problem in backends.available().items():
        assert re.search(rf"\b{name}\b +{'yes' if problem is None else 'no: '}", result.stdout)
    assert "(the best of this platform)" in result.stdout


def test_info_shows_where_it_is_and_what_the_extras_need():
    shown = gevlite_command("info").stdout
    assert re.search(rf"^gevlite +{re.escape(gevlite.__version__)}, {re.escape(gevlite.__path__[0])}$", shown, re.M)
    assert re.search(r"^extras +ares +pycares (\d[\d.]*|is not installed)$", shown, re.M)
    assert re.search(r"^ +wsgi +httptools (\d[\d.]*|is not installed)$", shown, re.M)


@pytest.mark.parametrize("name", [name for name, problem in backends.available().items() if problem is None])
def test_info_tells_that_the_environment_chose_the_backend(name):
    result = gevlite_command("info", GEVLITE_BACKEND=name)
    assert re.search(rf"^backend +{name} \(GEVLITE_BACKEND={name}\)$", result.stdout, re.MULTILINE)


def test_info_shows_each_setting_and_where_it_comes_from():
    result = gevlite_command("info", GEVLITE_THREADPOOL_SIZE="7", GEVLITE_THREADPOOL_IDLE_TASK_TIMEOUT="soon")
    assert result.returncode == 0, result.stderr
    for name in gevlite.config.settings:
        assert re.search(rf"^(settings)? +{name}\b", result.stdout, re.MULTILINE)
    assert "threadpool_size = 7 (GEVLITE_THREADPOOL_SIZE=7)" in result.stdout
    assert "GEVLITE_THREADPOOL_IDLE_TASK_TIMEOUT must be" in result.stdout


def test_info_shows_the_stack_cache_on_and_off():
    assert "of at most 7 chunks" in gevlite_command("info", GEVLITE_STACK_CACHE="7").stdout
    assert re.search(r"^stack cache +off$", gevlite_command("info", GEVLITE_STACK_CACHE="0").stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["info", "demo"])
def test_unknown_backend_is_told_in_one_line_without_a_traceback(command):
    result = gevlite_command(command, GEVLITE_BACKEND="abacus")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "abacus" in result.stderr and "usable here: " in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["info", "demo"])
@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_bad_stack_cache_size_is_told_in_one_line_without_a_traceback(command, value):
    result = gevlite_command(command, GEVLITE_STACK_CACHE=value)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "GEVLITE_STACK_CACHE" in result.stderr and repr(value) in result.stderr
    assert result.stderr.count("\n") == 1


def test_demo_fetches_at_once_and_draws_a_bar_for_each_request():
    result = gevlite_command("demo", "--plain", "--count", "8", "--longest", "0.8")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    bars = re.findall(r"^  /delay/([0-9.]+)  (?:urllib|requests) *\| *#+ *\| +[0-9.]+ s$", result.stdout, re.MULTILINE)
    assert len(bars) == 8
    total = float(re.search(r"^sum of delays +([0-9.]+) s$", result.stdout, re.MULTILINE).group(1))
    assert total == pytest.approx(sum(map(float, bars)), abs=0.05)
    wall = float(re.search(r"^wall time +([0-9.]+) s$", result.stdout, re.MULTILINE).group(1))
    ratio = float(re.search(r"^ratio +([0-9.]+) ", result.stdout, re.MULTILINE).group(1))
    assert 0.8 <= wall < total
    assert ratio == pytest.approx(total / wall, abs=0.2)
    assert re.search(r"^ticker +[1-9]", result.stdout, re.MULTILINE)


def test_demo_in_a_pipe_writes_plain_text():
    result = gevlite_command("demo", "--count", "2", "--longest", "0.2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.isascii()
    assert "\r" not in result.stdout and "\x1b" not in result.stdout


def test_demo_draws_progress_on_a_terminal():
    with Terminal("-m", "gevlite", "demo", "--count", "3", "--longest", "0.5") as terminal:
        assert terminal.wait() == 0
        assert "0/3 done, 3 waiting" in terminal.text
        assert "█" in terminal.text


@pytest.mark.parametrize("options", [[], ["--plain"]])
def test_demo_fits_a_terminal_of_30_columns(options):
    with Terminal("-m", "gevlite", "demo", "--count", "3", "--longest", "0.5", *options, columns=30) as terminal:
        assert terminal.wait() == 0
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[K", "", terminal.raw))
    assert max(map(len, lines)) <= 30
    assert [line for line in lines if re.search(r"[|│].*[#█].*[|│] +0\.\d\d s", line)]
    if not options:
        assert [line for line in lines if re.fullmatch(r"\d/3 done, \d waiting, 0\.\d s", line)]


def test_demo_that_is_interrupted_ends_without_a_traceback():
    with Terminal("-m", "gevlite", "demo", "--count", "2", "--longest", "1000", columns=60) as terminal:
        terminal.expect("0/2 done, 2 waiting")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "argument --count: must be a whole number from 1 to 10000, not '0'"),
        (["--count", "x"], "argument --count: must be a whole number from 1 to 10000, not 'x'"),
        (["--count", "2.5"], "argument --count: must be a whole number from 1 to 10000, not '2.5'"),
        (["--count", "1000000"], "argument --count: must be a whole number from 1 to 10000, not '1000000'"),
        (["--longest", "-1"], "argument --longest: must be seconds, more than 0 and at most 3600, not '-1'"),
        (["--longest", "long"], "argument --longest: must be seconds, more than 0 and at most 3600, not 'long'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_demo_refuses_bad_options_in_one_line_after_the_usage(arguments, message):
    result = gevlite_command("demo", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: ")
    assert result.stderr.splitlines()[-1].endswith(f"error: {message}")


def test_demo_says_in_one_line_that_there_are_too_few_descriptors():
    result = subprocess.run(
        [sys.executable, "-m", "gevlite", "demo", "--count", "40"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80)),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "gevlite demo: 40 requests need 130 open files, and the limit is 80 (ulimit -n): at most --count 15 fits\n"
    )


@pytest.mark.parametrize("arguments", [["demo", "--count", "2", "--longest", "0.2"], ["info"]])
def test_output_that_nobody_reads_is_told_in_one_line(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        result = subprocess.run(
            [sys.executable, "-m", "gevlite", *arguments], stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=50
        )
    assert result.returncode == 1
    assert result.stderr == "gevlite: the output ends early, because its reader has closed it\n"


def test_demo_fails_when_a_fetch_failed_or_they_ran_in_turn():
    from gevlite._cli import demo

    def request(delay, error=None):
        made = demo.Request("urllib", delay)
        made.error = error
        return made

    three = [request(1), request(2), request(1)]
    assert demo.verdict(three, wall=2.1)[1] is False
    assert demo.verdict(three, wall=4.0)[1] is True
    assert demo.verdict([*three, request(1, "ConnectionError")], wall=2.1)[1] is True
    assert demo.verdict([request(1)], wall=1.0)[1] is False


def test_run_patches_and_passes_on_the_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import socket, sys, gevlite.socket\n"
        "print(sys.argv[1:], __name__, socket.socket is gevlite.socket.socket)\n"
        "sys.exit(3)\n"
    )
    result = gevlite_command("run", str(script), "one", "--count", "-h")
    assert result.stdout == "['one', '--count', '-h'] __main__ True\n", result.stderr
    assert result.returncode == 3
