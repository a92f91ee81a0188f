"""`python -m gevlite`: what it prints, and how it ends."""

import os
import re
import subprocess
import sys

import pytest

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


def test_no_command_runs_the_program_in_standard_input():
    assert (gevlite_command().returncode, gevlite_command().stderr) == (0, "")  # which is empty


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
    import pty

    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gevlite", "demo", "--count", "3", "--longest", "0.5"],
        env={**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        chunks = []
        while True:
            try:
                chunk = os.read(leader, 10000)
            except OSError:  # EIO: how Linux tells that the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(leader)
        assert process.wait(30) == 0
    text = b"".join(chunks).decode()
    assert "0/3 done, 3 waiting" in text
    assert "█" in text


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--count", "x"], ["--longest", "-1"], ["--bogus"]])
def test_demo_refuses_bad_options(arguments):
    result = gevlite_command("demo", *arguments)
    assert result.returncode == 2
    assert "usage: " in result.stderr and "Traceback" not in result.stderr


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
