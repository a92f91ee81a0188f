"""`python -m gevlite top`: what it says about a process in each state, which goes on unharmed."""

import os
import re
import signal
import subprocess
import sys

import pytest
from processes import until
from programs import BLOCKED_IN_C, LONG_NAMES, SPINNING, TEN_THOUSAND, THREE_PARKED
from terminals import Terminal

from gevlite._cli.top import Top


def seen(program, count=2, *options):
    """The blocks that it shows."""
    screen = program.shows("top", "--interval", "0.5", "--count", str(count), *options)
    blocks = screen.split("\n\n")
    assert len(blocks) == count, screen
    return blocks


def row(block, name):
    """The line about a function: its share of the time, how many greenlets, how many more, and the rest."""
    for line in block.splitlines():
        if re.match(rf".{{17}}{re.escape(name)}(?: |$)", line):
            busy, count, grown = line[:4].strip(), line[4:10].strip(), line[10:16].strip()
            return int(busy.removesuffix("%") or 0), int(count or 0), int(grown or 0), line[17:]
    raise AssertionError(f"no {name} in\n{block}")


def test_parked(program):
    parked = program(THREE_PARKED)
    [block] = seen(parked, 1)
    assert block.startswith(f"PID {parked.pid}: app.py\n")
    assert re.search(r"^MainThread \(\w+\): busy \d%", block, re.M), block
    assert re.search(r"^  \d+ switches/s, \d+ polls/s, 0 new/s$", block, re.M), block
    assert re.search(r"^  4 parked, 0 timers, ", block, re.M), block
    assert row(block, "serve") == (0, 3, 0, "serve app.py:102  event")
    assert row(block, "main greenlet")[3] == "main greenlet  read"
    assert "Grows" not in block
    if os.path.isdir("/proc/self/fd"):
        assert re.search(r"^CPU \d+%, \d+\.\d MB, \d+ fds, \d+ threads?$", block, re.M), block
    assert parked.goes_on() == "went on\n"


def test_spinning(program):
    spinning = program(SPINNING)
    block = seen(spinning)[-1]
    assert re.search(r"^MainThread \(\w+\): busy 100%, a turn of ", block, re.M), block
    assert re.search(r"^  0 switches/s, 0 polls/s, 0 new/s$", block, re.M), block
    busy, count, _, rest = row(block, "compute")
    assert busy >= 50 and count == 1, block  # 100, if the machine has time for the samples
    assert re.match(r"compute app\.py:1\d\d  runs$", rest), block
    assert row(block, "other")[3] == "other app.py:114  not begun"
    assert spinning.goes_on() == "went on\n"


def test_shares_of_several(program):
    """One computes four times as long as another one."""
    sharing = program(
        """
        from time import thread_time
        stop = False
        def compute(seconds):
            while not stop:
                end = thread_time() + seconds
                while thread_time() < end:
                    pass
                gevlite.sleep(0.001)
        def much():
            compute(0.04)
        def little():
            compute(0.01)
        greenlets = [gevlite.spawn(much), gevlite.spawn(little)]
        say("ready")
        told()
        stop = True
        gevlite.joinall(greenlets)
        say("went on")
        """
    )

    def are_seen():
        [block] = seen(sharing, 1)
        much, little = row(block, "much"), row(block, "little")
        # A different line if it was never seen to run one of its own.
        return much[0] > little[0] > 0 and re.match(r"much app\.py:10[5-8]  ", much[3])

    until(are_seen)
    assert sharing.goes_on() == "went on\n"


def test_blocked_in_c(start):
    blocked = start(BLOCKED_IN_C, GEVLITE_INSPECT="1", GEVLITE_TIME_SLICE="")
    block = seen(blocked)[-1]
    assert re.search(r"busy 100%, a turn of ", block), block
    # The main thread makes no call, so only the state shows what runs.
    assert re.fullmatch(r"query app\.py:\d+  runs", row(block, "query")[3]), block
    assert row(block, "sleeper")[3] == "sleeper app.py:102  ready"
    assert blocked.goes_on() == "went on\n"


def test_hung_on_a_lock_and_a_deadlock(program):
    hung = program("""
        a, b, has_a, has_b = RLock(), RLock(), Event(), Event()
        def first():
            with a:
                has_a.set()
                has_b.wait()
                with b:
                    pass
        def second():
            with b:
                has_b.set()
                has_a.wait()
                with a:
                    pass
        def victim():
            has_a.wait()
            with a:
                pass
        pair = [gevlite.spawn(one) for one in (first, second, victim)]
        gevlite.idle()
        say("ready")
        told()
        gevlite.killall(pair)
        say("went on")
    """)
    block = seen(hung)[-1]
    for name in ("first", "second", "victim"):
        assert row(block, name)[:3] == (0, 1, 0) and row(block, name)[3].endswith("  lock"), block
    assert hung.goes_on() == "went on\n"


def test_ten_thousand(program):
    many = program(TEN_THOUSAND)
    block = seen(many)[-1]
    assert row(block, "serve") == (0, 10_000, 0, "serve app.py:102  event")
    assert len(block.splitlines()) < 12
    assert many.goes_on() == "all went on\n"


def test_what_grows_is_named(program):
    leaking = program("""
        from gevlite import socket
        kept = []
        def leaked():
            Event().wait()
        def leaker():
            while True:
                kept.append(gevlite.spawn(leaked))
                kept.append(os.open("/dev/null", os.O_RDONLY))
                gevlite.sleep(0.05)
        def steady():
            Event().wait()
        greenlets = [gevlite.spawn(leaker), gevlite.spawn(steady)]
        say("ready")
        told()
        greenlets[0].kill()
        say("went on")
    """)
    blocks = seen(leaking, 6)
    assert "Grows" not in blocks[0]
    growing = re.search(r"^Grows in \d.*: (.*)$", blocks[-1], re.M)
    assert growing, blocks[-1]
    assert re.match(r"leaked \+\d+", growing[1])
    if os.path.isdir("/proc/self/fd"):
        assert re.search(r"descriptors \+\d+", growing[1])
    assert "steady" not in growing[1]
    assert row(blocks[-1], "leaked")[2] > row(blocks[0], "leaked")[2] >= 0
    assert row(blocks[-1], "leaked")[1] >= row(blocks[-1], "leaked")[2] > 0
    assert re.search(r" [1-9]\d* new/s$", blocks[-1], re.M), blocks[-1]
    assert leaking.goes_on() == "went on\n"


def test_hubs_in_threads(program):
    several = program("""
        import threading
        stop = threading.Event()
        event = Event()
        def wait_here():
            event.wait()
        def spin():
            while not stop.is_set():
                for _ in range(1000):
                    pass
        def body(function):
            gevlite.joinall([gevlite.spawn(function)])
        threads = [threading.Thread(target=body, args=[f], name=f"thread {f.__name__}") for f in (wait_here, spin)]
        for thread in threads:
            thread.start()
        while len(gevlite._core.hubs()) < 2 or not any(h.stats()["parked"] == 2 for h in gevlite._core.hubs()):
            pass
        gevlite.spawn(event.wait)
        gevlite.sleep(0)
        say("ready")
        told()
        stop.set()
        event.set()
        for thread in threads:
            thread.join()
        say("all ended")
    """)
    block = seen(several)[-1]
    assert re.search(r"^thread wait_here \(\w+\): ", block, re.M), block
    assert re.search(r"^thread spin \(\w+\): busy (9\d|100)%, a turn of", block, re.M), block
    assert re.search(r"^MainThread \(\w+\): ", block, re.M), block
    busy, count, _, rest = row(block, "spin")
    assert busy >= 50 and count == 1 and re.match(r"spin app\.py:1\d\d  runs$", rest), block
    assert several.goes_on() == "all ended\n"


def test_a_process_that_ends(start):
    program = start(THREE_PARKED, GEVLITE_INSPECT="1")
    watching = program.begin("top", "--interval", "0.2")
    until(lambda: "serve" in watching.stdout.readline())
    assert program.goes_on() == "went on\n"
    out, err = watching.communicate(timeout=50)
    assert out.endswith(f"process {program.pid} has ended\n") and err == ""
    assert watching.returncode == 0


def test_a_process_may_end_while_it_is_looked_at(environment):
    # Code that runs after the end of the interpreter gives the sampling threads time for one more sample.
    program = """if True:
        import _thread, ctypes, gevlite
        from gevlite._core import Sampler
        gevlite.sleep(0)
        libc = ctypes.CDLL(None)
        if hasattr(libc, "__cxa_atexit"):
            libc.__cxa_atexit(libc.usleep, ctypes.c_void_p(200_000), None)
        looking = []
        def look():
            looking.append(1)
            Sampler().watch(30)
        for _ in range(8):
            _thread.start_new_thread(look, ())
        while len(looking) < 8:
            pass
    """
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_that_is_stopped(start):
    program = start(THREE_PARKED, GEVLITE_INSPECT="1")
    program.process.send_signal(signal.SIGSTOP)
    done = program.look("top", "--timeout", "1", "--interval", "0.2")
    assert done.returncode == 1 and "has not answered for" in done.stderr
    program.process.send_signal(signal.SIGCONT)
    assert program.goes_on() == "went on\n"


def test_ctrl_c_and_a_closed_pipe_end_it_cleanly(start):
    program = start(THREE_PARKED, GEVLITE_INSPECT="1")
    threads = os.listdir(f"/proc/{program.pid}/task")
    watching = program.begin("top", "--interval", "0.2")
    until(lambda: "serve" in watching.stdout.readline())
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=50)
    assert (watching.returncode, err) == (0, "")
    watching = program.begin("top", "--interval", "0.2")
    until(lambda: "serve" in watching.stdout.readline())
    watching.stdout.close()
    assert watching.stderr.read() == ""
    assert watching.wait(50) == 0
    watching.stderr.close()
    # The thread that answered has gone, too.
    until(lambda: os.listdir(f"/proc/{program.pid}/task") == threads)
    assert program.goes_on() == "went on\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["ps", "ps --json", "top --count 1 --interval 0.1"])
def test_a_full_disk_is_one_line(start, command):
    program = start(THREE_PARKED, GEVLITE_INSPECT="1")
    with open("/dev/full", "w") as full:
        looking = program.begin(*command.split(), stdout=full)
        assert looking.communicate(timeout=50)[1] == "gevlite: cannot write the output: No space left on device\n"
    assert looking.returncode == 1
    assert program.goes_on() == "went on\n"


def test_forty_columns(start):
    program = start(LONG_NAMES, GEVLITE_INSPECT="1")
    [block] = seen(program, 1, "--width", "40")
    assert max(len(line) for line in block.splitlines()) == 40, block
    assert "   3       a_function_with_quite_a" in block
    program.goes_on()


def test_what_holds_up_a_hub_fits_into_forty_columns():
    hub = {"name": "MainThread", "backend": "epoll", "state": "running", "busy": 1.0, "longest": 2.0, "lag": None}
    lines = [next(Top(1)._hub_lines({**hub, "rates": None, "counts": [0] * 12}, width)) for width in (None, 40)]
    assert lines == ["MainThread (epoll): busy 100%, a turn of 2.0 s", "MainThread: busy 100%, a turn of 2.0 s"]


@pytest.mark.parametrize("color", [True, False])
def test_a_terminal_is_redrawn_and_may_change_its_size(start, color):
    program = start(THREE_PARKED, GEVLITE_INSPECT="1")
    command = ["-m", "gevlite", "top", "--interval", "0.2", str(program.pid)]
    no_color = None if color else "1"
    env = program.environment
    with Terminal(*command, columns=30, rows=8, env=env, controls=True, NO_COLOR=no_color) as terminal:
        terminal.expect(r"\x1b\[H")
        screen = terminal.expect(r"(?s)\x1b\[H(.*?)\x1b\[J")[1]
        lines = re.sub(r"\x1b\[\d*[mK]", "", screen).splitlines()
        assert max(len(line) for line in lines) <= 30 and len(lines) <= 7, lines
        assert ("\x1b[1m" in screen) is color
        terminal.resize(60, 24)
        terminal.expect(r"\x1b\[H[^H]*main greenlet  read")
        terminal.type("\x03")
        terminal.expect(r"\x1b\[\?25h")  # the cursor is there again
        assert terminal.wait() == 0
    assert program.goes_on() == "went on\n"


def test_other_clients_are_answered_meanwhile(start):
    program = start(THREE_PARKED, GEVLITE_INSPECT="1")
    watching = [program.begin("top", "--interval", "0.2") for _ in range(3)]
    for one in watching:
        until(lambda one=one: "serve" in one.stdout.readline())
    assert "3 x serve" in program.shows("ps")
    assert "3" in program.look("attach", stdin="len(greenlets('serve'))").stdout
    for one in watching:
        one.send_signal(signal.SIGINT)
        one.communicate(timeout=50)
    assert program.goes_on() == "went on\n"


def test_a_fork_leaves_it_to_the_parent(start):
    forking = start(
        """
        def serve():
            gevlite.sleep(1000)
        one = gevlite.spawn(serve)
        say("ready")
        told()
        child = os.fork()
        if not child:
            gevlite.sleep(1000)
        say(str(child))
        told()
        os.kill(child, 9)
        os.waitpid(child, 0)
        """,
        GEVLITE_INSPECT="1",
    )
    watching = forking.begin("top", "--interval", "0.2")
    until(lambda: "serve" in watching.stdout.readline())
    forking.process.stdin.write("go\n")
    child = int(forking.line())
    try:
        assert "serve" in forking.shows("top", "--interval", "0.2", "--count", "1", pid=child)
        until(lambda: "serve" in watching.stdout.readline())
        # The end of the parent is seen although the child, which had a copy of the connection, lives.
        forking.process.kill()
        out, _ = watching.communicate(timeout=50)
        assert out.endswith(f"process {forking.pid} has ended\n")
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="sys.remote_exec needs no preparation")
@pytest.mark.parametrize("command", ["top", "attach"])
def test_an_unprepared_process_is_told_what_to_set(start, command):
    program = start(THREE_PARKED)
    done = program.look(command)
    assert done.returncode == 1 and done.stdout == ""
    assert "GEVLITE_INSPECT=1" in done.stderr and "Traceback" not in done.stderr
    assert program.goes_on() == "went on\n"


@pytest.mark.parametrize("command", ["top", "attach"])
@pytest.mark.parametrize("number", [0, 2**22 + 5, 10**20])
def test_there_is_no_such_process(environment, command, number):
    done = subprocess.run(
        [sys.executable, "-m", "gevlite", command, str(number)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1 and str(number) in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="came with Python 3.14")
@pytest.mark.parametrize("command", ["top", "attach"])
def test_remote_exec_of_a_process_without_gevlite(environment, command):
    with subprocess.Popen(
        [sys.executable, "-c", "print('ready', flush=True)\nwhile True: pass"], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            other.stdout.readline()
            line = [sys.executable, "-m", "gevlite", command, str(other.pid)]
            done = subprocess.run(
                line, env=environment, capture_output=True, text=True, timeout=50, stdin=subprocess.DEVNULL
            )
            assert done.returncode == 1 and "has not imported gevlite" in done.stderr
        finally:
            other.kill()


@pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="came with Python 3.14")
@pytest.mark.parametrize("command", ["top", "attach"])
def test_remote_exec_of_a_process_that_is_blocked_in_c(start, command):
    blocked = start("import select\ngevlite.get_hub()\nsay('ready')\nselect.select([0], [], [])\nsay('went on')")
    done = blocked.look(command, "--timeout", "2")
    assert done.returncode == 1 and "blocked in C" in done.stderr and "GEVLITE_INSPECT=1" in done.stderr
    assert blocked.goes_on() == "went on\n"


def test_a_worker_of_gunicorn(gunicorn, way):
    """`top` and `attach` of a forked worker, which goes on to serve."""
    served = gunicorn(1)
    [pid] = served.wait_for_workers()
    assert served.ask("/").recv(100).startswith(b"HTTP/1.1 200")
    served.ask("/slow")
    until(lambda: "application" in served.look("ps", pid).stdout)
    top = served.look("top", "--interval", "0.3", "--count", "1", pid)
    assert top.returncode == 0 and re.match(rf"PID {pid}: ", top.stdout), top
    assert re.search(r"^MainThread \(\w+\): busy ", top.stdout, re.M) and "  sleep" in top.stdout, top
    attached = served.look("attach", pid, stdin="import os; os.getpid()\nimport app; app.application.__name__")
    assert (attached.returncode, attached.stdout) == (0, f"{pid}\n'application'\n"), attached
    if way == "socket":
        none = served.look("top", str(served.master.pid))
        assert none.returncode == 1
    assert served.ask("/").recv(100).startswith(b"HTTP/1.1 200")
