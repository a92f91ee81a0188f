"""`python -m gevlite attach`: a prompt in a process, which goes on unharmed."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import types

import pytest
from processes import until
from programs import PARKED, as_another_user
from terminals import Terminal

from gevlite._cli.attach import _Watcher


@pytest.fixture
def at_terminal():
    """`at_terminal(program)`: a Terminal that shows the first prompt."""
    with contextlib.ExitStack() as terminals:

        def attach(program, *options):
            command = ["-m", "gevlite", "attach", *options, str(program.pid)]
            variables = {"TERM": "dumb", "INPUTRC": "/dev/null"}
            return terminals.enter_context(Terminal(*command, env=program.environment, **variables))

        yield attach


def runs(program, text, code=0):
    done = program.look("attach", stdin=text)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def interrupt(terminal):
    """Ctrl-C ends the input or the command, and the prompt goes on."""
    terminal.expect("KeyboardInterrupt\n>>> ", again="\x03")
    terminal.type("6 * 7\n")
    terminal.expect("42\n>>> ", again="\x036 * 7\n")


def test_what_is_printed_comes_back_and_nowhere_else(program):
    serving = program(PARKED)
    assert runs(serving, "print(1 + 1)") == "2\n"
    assert runs(serving, "import sys\nx = sys.stderr.write('err\\n')\n'value'\nNone\n_") == "err\n'value'\n'value'\n"
    assert serving.goes_on() == "went on\n"


def test_statements_of_several_lines(program):
    serving = program(PARKED)
    assert runs(serving, "def f():\n    return 6\nfor i in range(2):\n    print(f() + i)\nf()") == "6\n7\n6\n"
    assert runs(serving, "print('\u00fc')\ninput", 0).startswith("\u00fc\n")
    assert serving.goes_on() == "went on\n"


def test_it_runs_in_the_hub_and_sees_the_program(program):
    serving = program(PARKED)
    text = """
import __main__
gevlite.get_hub() is hub, gevlite.getcurrent().parent is hub
[one is __main__.one for one in greenlets("serve")]
len(greenlets("no such"))
gevlite.sleep(0.001)
gevlite.spawn(lambda: 5).get()
ps()
"""
    shown = runs(serving, text)
    assert shown.startswith("(True, True)\n[True]\n0\n5\n")
    assert re.search(r"^  serve app\.py:103 waits for Event", shown, re.M), shown
    assert serving.goes_on() == "went on\n"


def test_what_is_set_there_stays(program):
    serving = program(PARKED)
    runs(serving, "import __main__\n__main__.event.set()\n__main__.one.join()")
    assert "serve" not in serving.shows()
    assert serving.goes_on() == "went on\n"


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("print(1)\n1/0\nprint(2)", 1, '1\nTraceback .*\n  File "<attached>", line 2.*\nZeroDivisionError: .*\n'),
        ("x = (", 1, '  File "<attached>", line 1\n.*SyntaxError: .*\n'),
        ("import sys; sys.exit(3)\nprint(2)", 3, ""),
        ("raise SystemExit", 0, ""),
        ("exit()", 0, ""),
        ("import gevlite; raise gevlite.GreenletExit", 0, ""),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt\n"),
        ("input()", 1, "Traceback .*\nEOFError: .*\n"),
        ("import sys; sys.excepthook = None; 1/0", 1, "Traceback .*\nZeroDivisionError: .*\n"),
        ("", 0, ""),
    ],
)
def test_exceptions_are_shown_and_end_nothing(start, text, code, shown):
    serving = start(PARKED, GEVLITE_INSPECT="1")
    assert re.fullmatch(shown, runs(serving, text, code), re.DOTALL)
    assert runs(serving, "print(1)") == "1\n"
    assert serving.goes_on() == "went on\n"


def test_other_greenlets_print_where_they_always_do(start):
    serving = start(
        """
        event = Event()
        def serve():
            event.wait()
            print("from the program", flush=True)
        one = gevlite.spawn(serve)
        gevlite.idle()
        say("ready")
        told()
        """,
        GEVLITE_INSPECT="1",
    )
    assert runs(serving, "import __main__\n__main__.event.set(); __main__.one.join()\nprint('here')") == "here\n"
    assert serving.goes_on() == "from the program\n"


def test_a_terminal(program, at_terminal):
    serving = program(PARKED)
    terminal = at_terminal(serving)
    terminal.expect(r"process \d+\. Ctrl-D leaves it\.\n.*\n>>> ")
    terminal.type("def f():\n")
    terminal.expect(r"\.\.\. ")
    terminal.type("    return 'from f'\n")
    terminal.expect(r"\.\.\. ")
    terminal.type("\n")
    terminal.expect(">>> ")
    terminal.type("f()\n")
    terminal.expect(r"\n'from f'\n>>> ")
    terminal.type("input('who? ').upper()\n")
    terminal.expect(r"\nwho\? ")
    terminal.type("joe\n")
    terminal.expect(r"\n'JOE'\n>>> ")
    terminal.type("1/0\n")
    terminal.expect(r"ZeroDivisionError: .*\n>>> ")
    terminal.type("\x04")
    assert terminal.wait() == 0
    until(lambda: "attached" not in serving.shows())
    assert serving.goes_on() == "went on\n"


@pytest.mark.parametrize("command", ["while True: pass", "gevlite.sleep(1000)", "while True: print(end='')", "Lock"])
def test_ctrl_c_interrupts_the_command_and_not_the_process(program, at_terminal, command):
    serving = program(PARKED)
    terminal = at_terminal(serving)
    terminal.expect(">>> ")
    if command == "Lock":
        command = "from gevlite.lock import Semaphore; Semaphore(0).acquire()"
    terminal.type(f"print('beg' + 'ins'); {command}\n" if "while" not in command else "print('beg' + 'ins')\n")
    terminal.expect("begins\n")
    if "while" in command:
        terminal.expect(">>> ")
        terminal.type(f"{command}\n")
        terminal.expect(r"\.\.\. ")
        terminal.type("\n")
        terminal.expect("\n")
    interrupt(terminal)
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert serving.goes_on() == "went on\n"


def test_ctrl_c_while_typing_drops_the_statement(start, at_terminal):
    serving = start(PARKED, GEVLITE_INSPECT="1")
    terminal = at_terminal(serving)
    terminal.expect(">>> ")
    terminal.type("def f():\n")
    terminal.expect(r"\.\.\. ")
    interrupt(terminal)
    terminal.type("exit()\n")
    assert terminal.wait() == 0
    assert serving.goes_on() == "went on\n"


@pytest.mark.parametrize("interrupts", [signal.default_int_handler, signal.SIG_IGN])
def test_the_end_of_the_process_is_told_while_typing(program, at_terminal, interrupts):
    serving = program(PARKED)
    before = signal.signal(signal.SIGINT, interrupts)  # an ignored signal stays ignored in a child
    try:
        terminal = at_terminal(serving)
    finally:
        signal.signal(signal.SIGINT, before)
    terminal.expect(">>> ")
    assert serving.goes_on() == "went on\n"  # a prompt keeps no process alive
    terminal.expect(f"process {serving.pid} has ended")
    assert terminal.wait() == 0


def test_the_end_of_the_process_is_told_until_it_is_heard():
    here, there = socket.socketpair()
    there.close()
    with here, _Watcher(types.SimpleNamespace(connection=here)) as watcher:
        missed = []
        signal.signal(signal.SIGINT, lambda *_: missed.append(1))
        until(lambda: missed)
        signal.signal(signal.SIGINT, watcher.interrupt)
        with pytest.raises(KeyboardInterrupt):
            watcher.typing = True
            threading.Event().wait(30)


def test_the_end_of_the_process_is_told_while_a_command_runs(start):
    serving = start(PARKED, GEVLITE_INSPECT="1")
    done = serving.look("attach", stdin="import os; os._exit(0)")
    assert done.returncode == 1 and f"process {serving.pid} has ended" in done.stderr


@pytest.mark.parametrize("command", ["while True: pass", "gevlite.sleep(1000)"])
def test_a_command_ends_with_its_client(program, command):
    serving = program(PARKED)
    client = serving.begin("attach", stdin=subprocess.PIPE)
    client.stdin.write(f"print('begins')\n{command}")
    client.stdin.close()
    assert client.stdout.readline() == "begins\n"
    client.kill()
    client.wait()
    client.stdout.close()
    client.stderr.close()
    until(lambda: "attached" not in serving.shows())
    assert serving.goes_on() == "went on\n"


def test_a_stuck_hub_is_told(start):
    stuck = start(
        """
        os.set_blocking(0, False)
        gevlite.get_hub()
        say("ready")
        while True:
            try:
                os.read(0, 100)
                break
            except BlockingIOError:
                pass
        gevlite.sleep(0.01)
        say("went on")
        """,
        GEVLITE_INSPECT="1",
        GEVLITE_TIME_SLICE="",  # otherwise it is not stuck
    )
    stuck.shows()
    done = stuck.look("attach", "--timeout", "4", stdin="print(1)")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count(f"`python -m gevlite ps {stuck.pid}` shows what runs") == 2
    assert "has not answered for 3 s" in done.stderr and "gave up after 4 s" in done.stderr
    assert stuck.goes_on() == "went on\n"


def test_a_stuck_hub_that_goes_on_shows_the_prompt(start, at_terminal):
    stuck = start(
        """
        import select
        gevlite.get_hub()
        say("ready")
        select.select([0], [], [])
        told()
        told()
        say("went on")
        """,
        GEVLITE_INSPECT="1",
    )
    terminal = at_terminal(stuck, "--timeout", "50")
    terminal.expect("has not answered for 3 s: a greenlet holds it up")
    stuck.process.stdin.write("go\n")
    terminal.expect(">>> ")
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert stuck.goes_on() == "went on\n"


def test_several_at_one_time(start, at_terminal):
    serving = start(PARKED, GEVLITE_INSPECT="1")
    terminals = [at_terminal(serving) for _ in range(2)]
    for terminal in terminals:
        terminal.expect(">>> ")
    for number, terminal in enumerate(terminals):
        terminal.type(f"x = {number}; print('mine: ' + str(x))\n")
        terminal.expect(f"mine: {number}\n>>> ")
    until(lambda: "2 x Session._run" in serving.shows())
    for terminal in terminals:
        terminal.type("x\n")
        terminal.expect(r"x\n\d\n>>> ")
        terminal.type("\x04")
        assert terminal.wait() == 0
    assert serving.goes_on() == "went on\n"


def test_a_fork_has_no_part_in_it(start, at_terminal):
    forking = start(
        """
        import signal
        event = Event()
        say("ready")
        told()
        child = os.fork()
        if not child:
            gevlite.sleep(1000)
        say(str(child))
        told()
        os.kill(child, 9)
        os.waitpid(child, 0)
        say("went on")
        """,
        GEVLITE_INSPECT="1",
        GEVLITE_FORK_KEEPS="all",
    )
    terminal = at_terminal(forking)
    terminal.expect(">>> ")
    forking.process.stdin.write("go\n")
    child = int(forking.line())
    until(lambda: "attached" not in forking.shows(pid=child))
    terminal.type("'still' + ' here'\n")
    terminal.expect("still here'\n>>> ")
    # The parent's end is seen although the child, which had a copy of the connection, lives.
    forking.process.kill()
    try:
        terminal.expect("has ended")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_process_without_a_hub(start):
    none = start(
        """
        from gevlite import _door
        from gevlite.hub import _start_new_thread
        gevlite.config.inspect = True
        gevlite.get_hub().destroy()
        say("ready")
        os.read(0, 100)
        """,
        GEVLITE_INSPECT="1",
    )
    for command in ("attach", "top"):
        done = none.look(command)
        assert done.returncode == 1 and f"no thread of process {none.pid} has a hub" in done.stderr
    none.goes_on()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gets_no_prompt(start, environment):
    serving = start(PARKED, GEVLITE_INSPECT="1")
    folder = os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite")
    # Even if the modes of the files would allow it.
    os.chmod(folder, 0o755)
    os.chmod(os.path.join(folder, f"{serving.pid}.sock"), 0o666)

    def ask():
        answer = b""
        for request in (b"attach\n", b"top 0.1\n"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(30)
                try:
                    connection.connect(f"{serving.pid}.sock")
                    connection.sendall(request)
                    answer += connection.recv(1000) or b"hung up;"
                except ConnectionError:
                    answer += b"hung up;"
        return answer

    answer = as_another_user(folder, ask)
    os.chmod(folder, 0o700)
    assert answer == b"hung up;hung up;"
    assert runs(serving, "1") == "1\n"
    assert serving.goes_on() == "went on\n"
