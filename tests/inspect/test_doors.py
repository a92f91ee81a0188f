"""The ways to inspect a process: its socket, its signal, `sys.remote_exec`; and which users are refused."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest
from processes import until
from programs import PARKED, as_another_user

from gevlite import _door


def unprepared(text):
    return "GEVLITE_INSPECT=1" in text and "GEVLITE_DUMP_SIGNAL" in text


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="sys.remote_exec needs no preparation")
def test_an_unprepared_process_is_told_what_to_set(start):
    program = start(PARKED)
    done = program.look("ps")
    assert done.returncode == 1 and done.stdout == ""
    assert unprepared(done.stderr) and "Traceback" not in done.stderr
    program.goes_on()


@pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="came with Python 3.14")
def test_a_process_that_forbids_remote_exec_is_told_what_to_set(start):
    program = start(PARKED, PYTHON_DISABLE_REMOTE_DEBUG="1")
    done = program.look("ps", "--timeout", "5")
    assert done.returncode == 1 and done.stdout == ""
    assert unprepared(done.stderr) and "Traceback" not in done.stderr
    program.goes_on()


@pytest.mark.parametrize("command", ["ps", "top", "attach", "trace"])
@pytest.mark.parametrize("kind", ["of Python", "of Python that forbids remote_exec", "cat"])
def test_a_process_without_gevlite(environment, kind, command):
    program = [sys.executable, "-c", "import time; print('ready', flush=True)\nwhile True: time.sleep(0.01)"]
    variables = {**environment, **({"PYTHON_DISABLE_REMOTE_DEBUG": "1"} if "forbids" in kind else {})}
    with subprocess.Popen(
        ["cat"] if kind == "cat" else program, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            if kind == "cat":
                other.stdin.write("ready\n")
                other.stdin.flush()
            other.stdout.readline()
            look = [sys.executable, "-m", "gevlite", command, str(other.pid)]
            done = subprocess.run(look, env=environment, capture_output=True, text=True, timeout=50, stdin=other.stdout)
            assert done.returncode == 1 and done.stdout == ""
            assert "has not imported gevlite" in done.stderr and done.stderr.count("\n") == 1, done.stderr
            assert not unprepared(done.stderr)
        finally:
            other.kill()


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="sys.remote_exec needs no preparation")
def test_the_children_with_gevlite_of_a_process_without_are_named(start):
    child = start(PARKED)
    code = "import subprocess, sys; print('ready', flush=True); subprocess.run(sys.argv[1:])"
    parent = [sys.executable, "-c", code, sys.executable, "-c", "import gevlite; print('child', flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(parent, env=child.environment, **pipes) as other:
        try:
            assert [other.stdout.readline() for _ in range(2)] == ["ready\n", "child\n"]
            done = child.look("ps", pid=other.pid)
            number = re.search(r"has not imported gevlite\. Its children that have: (\d+)\n", done.stderr)[1]
            assert os.path.realpath(f"/proc/{number}/exe") == os.path.realpath(f"/proc/{other.pid}/exe")
        finally:
            other.communicate("end\n", timeout=50)
    child.goes_on()


@pytest.mark.parametrize("number", [0, -5, 2**22 + 5])
def test_there_is_no_such_process(environment, number):
    command = [sys.executable, "-m", "gevlite", "ps", "--", str(number)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("gevlite: ") and str(number) in done.stderr and "Traceback" not in done.stderr


def test_the_socket_belongs_to_its_user_and_goes_with_the_process(start, environment, sockets):
    program = start(PARKED, GEVLITE_INSPECT="1")
    assert sockets() == [f"{program.pid}.sock"]
    folder = os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite")
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(folder, sockets()[0])).st_mode) == 0o600
    assert program.goes_on() == "went on\n"
    assert sockets() == []


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the system does not say who listens")
def test_a_link_does_not_lead_to_another_process(start, environment):
    one, other = start(PARKED, GEVLITE_INSPECT="1"), start(PARKED)
    folder = os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite")
    os.symlink(os.path.join(folder, f"{one.pid}.sock"), os.path.join(folder, f"{other.pid}.sock"))
    assert f"PID {one.pid}" in one.shows("ps")
    assert f"PID {one.pid}" not in other.look("ps").stdout
    assert one.goes_on() == other.goes_on() == "went on\n"


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="sys.remote_exec needs no preparation")
@pytest.mark.parametrize("command", ["top", "attach", "trace"])
def test_prepared_children_are_named(start, environment, command):
    master = start(
        """
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", '''if True:
            import gevlite, os
            gevlite.config.inspect = True
            gevlite.sleep(0)
            print("ready", flush=True)
            gevlite.get_hub().wait_fd(0, 1)
        '''], stdin=-1, stdout=-1)
        child.stdout.readline()
        say(str(child.pid))
        told()
        child.communicate(b"end")
        """
    )
    done = master.look(command)
    assert done.returncode == 1 and unprepared(done.stderr)
    assert done.stderr.endswith(f"\nPrepared are its children: {master.ready}.\n")
    assert master.goes_on() == ""


def test_a_socket_that_was_left_is_removed(start, sockets):
    killed = start(PARKED, GEVLITE_INSPECT="1")
    killed.process.kill()
    killed.process.wait()
    assert sockets() == [f"{killed.pid}.sock"]
    program = start(PARKED, GEVLITE_INSPECT="1")
    assert sockets() == [f"{program.pid}.sock"]
    program.goes_on()


def test_processes_are_listed(start):
    programs = [start(PARKED, GEVLITE_INSPECT="1") for _ in range(2)]
    command = [sys.executable, "-m", "gevlite", "ps"]
    done = subprocess.run(command, env=programs[0].environment, capture_output=True, text=True, timeout=50)
    for program in programs:
        assert re.search(rf"^{program.pid}: app\.py, 2 greenlets$", done.stdout, re.M), done.stdout + done.stderr
        program.goes_on()


@pytest.mark.parametrize("trap", ["link", "open", "file"])
def test_a_folder_that_others_could_have_made_is_not_used(tmp_path, environment, start, sockets, trap):
    place = os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if trap == "link":
        os.symlink(elsewhere, place)
    elif trap == "open":
        os.mkdir(place)
        os.chmod(place, 0o777)
    else:
        open(place, "w").close()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = start(PARKED, GEVLITE_INSPECT="1", TMPDIR=str(temporary), PYTHONWARNINGS="default")
    assert os.listdir(elsewhere) == [] and sockets() == []
    # It has taken the next folder, in which the command finds it, too.
    program.environment["TMPDIR"] = str(temporary)
    if not os.path.isdir(f"/run/user/{os.geteuid()}"):
        assert os.listdir(temporary / f"gevlite-{os.geteuid()}") == [f"{program.pid}.sock"]
    assert "serve app.py:103 waits for Event" in program.shows()
    program.goes_on()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("open_up", [False, True])
def test_another_user_cannot_read_the_socket(start, environment, open_up):
    program = start(PARKED, GEVLITE_INSPECT="1")
    folder = os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite")
    path = os.path.join(folder, f"{program.pid}.sock")
    if open_up:  # even if the modes of the files would allow it
        os.chmod(folder, 0o755)
        os.chmod(path, 0o666)

    def ask():
        answer = b""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            try:
                connection.connect(os.path.basename(path))
                connection.sendall(b"look\n")
                while received := connection.recv(10000):
                    answer += received
            except PermissionError:
                return b"no permission"
            except ConnectionError:
                return b"hung up"
        return answer or b"hung up"

    answer = as_another_user(folder, ask)
    if open_up:
        assert answer == b"hung up"
    else:
        assert answer == b"no permission"
    os.chmod(folder, 0o700)
    assert "serve app.py:103" in program.shows()
    program.goes_on()


def test_hanging_up_and_nonsense_do_no_harm(start, environment):
    program = start(PARKED, GEVLITE_INSPECT="1")
    path = os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite", f"{program.pid}.sock")
    for sent in (b"", b"\n", b"x" * 1000, b"\xff\xfe\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(sent)
    assert "serve app.py:103" in program.shows()
    assert program.goes_on() == "went on\n"


def test_the_thread_keeps_nothing_alive_and_holds_off_no_loop_exit(start):
    program = start(
        """
        gevlite.get_hub()
        say("ready")
        try:
            Event().wait()
        except gevlite.LoopExit:
            say("a dead end")
        """,
        GEVLITE_INSPECT="1",
    )
    assert program.line() == "a dead end"
    assert program.goes_on() == ""


def test_an_idle_process_is_not_woken(start):
    program = start(PARKED, GEVLITE_INSPECT="1")

    def switches():
        found = 0
        for thread in os.listdir(f"/proc/{program.pid}/task"):
            with open(f"/proc/{program.pid}/task/{thread}/status") as file:
                found += sum(int(n) for n in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)$", file.read(), re.M))
        return found

    states = f"/proc/{program.pid}/task"
    until(
        lambda: all(open(f"{states}/{t}/stat").read().rpartition(")")[2].split()[0] == "S" for t in os.listdir(states))
    )

    def rests():
        before = switches()
        threading.Event().wait(0.5)
        return switches() - before <= 2

    # From Python 3.14 on, an idle main thread looks once, after a second, whether a debugger attaches. With time slices
    # that wakes the ticker, which looks a few times.
    until(lambda: all(rests() for _ in range(3)), "the threads to rest")
    program.goes_on()


# ---------------------------------------------------------------- fork


def test_parent_and_child_each_have_a_socket(start, sockets):
    parent = start(
        """
        event = Event()
        def serve():
            event.wait()
        one = gevlite.spawn(serve)
        gevlite.idle()
        child = os.fork()
        if child:
            say(str(child))
            told()
            event.set()
            one.join()
            os.kill(child, 9)
            os.waitpid(child, 0)
            say("went on")
        else:
            gevlite.spawn(serve)
            gevlite.idle()
            gevlite.sleep(1000)
        """,
        GEVLITE_INSPECT="1",
    )
    child = int(parent.ready)
    until(lambda: sockets() == sorted(f"{pid}.sock" for pid in (parent.pid, child)))
    assert re.search(r"^  serve app\.py:103 waits for Event", parent.shows(), re.M)
    until(lambda: re.search(r"main greenlet app\.py:118 sleeps", parent.shows(pid=child)))
    assert re.search(r"^  2 x serve app\.py:103 waits for Event", parent.shows(pid=child), re.M)
    assert parent.goes_on() == "went on\n"


def test_workers_of_gunicorn(gunicorn):
    served = gunicorn(2)
    workers = served.wait_for_workers()
    served.ask("/slow")
    master = str(served.master.pid)

    def screens():
        done = served.look("ps", master)
        found = done.returncode == 0 and "app.py:5 in application sleeps" in done.stdout
        return found and all(f"PID {pid}: " in done.stdout for pid in workers) and done

    done = until(screens)
    assert f"process {master} has no hub; these are its children" in done.stderr
    for pid in workers:
        assert f"PID {pid}: " in served.look("ps", pid).stdout
    assert served.ask("/").recv(100).startswith(b"HTTP/1.1 200")


# ---------------------------------------------------------------- the signal


@pytest.mark.parametrize("state", ["parked", "spinning"])
def test_a_signal_writes_the_report_to_stderr(start, state):
    spinning = """
    os.set_blocking(0, False)
    def spinner():
        say("ready")
        while True:
            try:
                os.read(0, 100)
                break
            except BlockingIOError:
                pass
        say("went on")
    event = Event()
    def serve():
        event.wait()
    gevlite.spawn(serve)
    gevlite.spawn(spinner).join()
    """
    program = start(PARKED if state == "parked" else spinning, GEVLITE_DUMP_SIGNAL="usr2")
    program.process.send_signal(signal.SIGUSR2)
    text = ""
    while "serve app.py" not in text or "main greenlet" not in text:
        text += program.process.stderr.readline()
    while "main greenlet" not in text:
        text += program.process.stderr.readline()
    assert re.search(rf"^PID {program.pid}: app\.py$", text, re.M)
    out, _ = program.process.communicate("go\n", timeout=40)
    assert out == "went on\n" and program.process.returncode == 0


def test_a_signal_writes_the_report_to_a_file(start, tmp_path):
    path = tmp_path / "reports"
    program = start(PARKED, GEVLITE_DUMP_SIGNAL="USR1", GEVLITE_DUMP_FILE=str(path))
    for number in (1, 2):
        program.process.send_signal(signal.SIGUSR1)
        until(lambda number=number: path.exists() and path.read_text().count("main greenlet") == number)
    text = path.read_text()
    assert text.count("serve app.py:103 waits for Event") == 2
    assert re.search(r"^  main greenlet app\.py:\d+ in told waits for read from a pipe", text, re.M), text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert program.goes_on() == "went on\n"


@pytest.mark.parametrize("kind", ["a FIFO that nobody reads", "a FIFO", "a link", "in no folder", "no path"])
def test_what_no_report_can_be_written_to_gets_none_and_blocks_nothing(start, tmp_path, kind):
    path, target = tmp_path / "reports", tmp_path / "target"
    reader = None
    if kind == "a link":
        path.symlink_to(target)
    elif kind == "in no folder":
        path = path / "reports"
    elif kind == "no path":
        path = f"{tmp_path}/"
    else:
        os.mkfifo(path)
        if kind == "a FIFO":
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    program = start(PARKED, GEVLITE_DUMP_SIGNAL="USR1", GEVLITE_DUMP_FILE=str(path))
    program.process.send_signal(signal.SIGUSR1)
    said = program.process.stderr.readline()
    assert said.startswith("gevlite: not in GEVLITE_DUMP_FILE: ") and str(path) in said
    assert ("not a regular file" in said) == (kind == "a FIFO")
    assert program.process.stderr.readline() == f"PID {program.pid}: app.py\n"
    assert "went on\n" in program.process.communicate("go\n", timeout=40)[0]
    assert not target.exists()
    if reader is not None:
        assert os.read(reader, 10) == b""
        os.close(reader)


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="sys.remote_exec needs no preparation")
def test_ps_says_which_signal_to_send(start):
    program = start(PARKED, GEVLITE_DUMP_SIGNAL="SIGUSR1")
    done = program.look("ps")
    assert done.returncode == 1 and f"kill -USR1 {program.pid}" in done.stderr
    program.goes_on()


def test_the_signal_holds_off_no_loop_exit_and_leaves_the_programs_handler(start):
    program = start(
        """
        import signal
        def mine(number, frame):
            pass
        signal.signal(signal.SIGUSR2, mine)
        gevlite.get_hub()
        say("ready")
        assert signal.getsignal(signal.SIGUSR2) is mine
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        try:
            Event().wait()
        except gevlite.LoopExit:
            say("a dead end")
        """,
        GEVLITE_DUMP_SIGNAL="USR2",
        PYTHONWARNINGS="default",
    )
    assert program.line() == "a dead end"
    _, err = program.process.communicate(timeout=40)
    assert "GEVLITE_DUMP_SIGNAL has no effect: the program handles signal" in err


def test_the_folders_of_a_user(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/somewhere")
    assert _door.folders(7)[:2] == ["/somewhere/gevlite", "/run/user/7/gevlite"]
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert _door.folders(7)[0] == "/run/user/7/gevlite"


def test_a_process_that_ends_while_it_is_recorded_has_ended(start, tmp_path):
    program = start(PARKED, GEVLITE_INSPECT="1")
    before = len(os.listdir(f"/proc/{program.pid}/fd")) if sys.platform == "linux" else 0
    recording = program.begin("trace", "--seconds", "50", "-o", str(tmp_path / "trace.json"))
    # The connection has been made: the process has begun to record, or will.
    until(lambda: sys.platform != "linux" or len(os.listdir(f"/proc/{program.pid}/fd")) > before)
    program.process.kill()
    program.process.wait()
    out, err = recording.communicate(timeout=50)
    assert recording.returncode == 1 and out == ""
    assert f"process {program.pid} has ended" in err or "there is no process" in err or "not answered" in err, err
