"""Locks of files, `fcntl.flock` and the like: waiting for one blocks only the calling greenlet.

Tests that take `lib` run twice with the same assertions: against the original in threads, then against the twin.
"""

import errno
import fcntl
import inspect
import os
import struct
import subprocess
import sys
import threading

import pytest

import gevlite
from gevlite import _fcntl as gevlite_fcntl

# A struct flock (fcntl(2)) of the whole file; as Linux has it on 64-bit machines.
WHOLE_FILE = {kind: struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0) for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK)}

KINDS = ["flock", "lockf", "F_SETLKW"] + (["F_OFD_SETLKW"] if hasattr(fcntl, "F_OFD_SETLKW") else [])
# Those that greenlets of one process can wait for: the others belong to the process.
OF_A_FILE = [kind for kind in KINDS if kind in ("flock", "F_OFD_SETLKW")]

linux_64 = pytest.mark.skipif(
    sys.platform != "linux" or sys.maxsize < 2**32, reason="the layout of a struct flock is that of 64-bit Linux"
)


def with_kinds(kinds):
    marks = {"F_SETLKW": linux_64, "F_OFD_SETLKW": linux_64}
    return pytest.mark.parametrize("kind", [pytest.param(kind, marks=marks.get(kind, ())) for kind in kinds])


def take(module, kind, fd):
    """Wait for the lock."""
    if kind in ("flock", "lockf"):
        getattr(module, kind)(fd, fcntl.LOCK_EX)
    else:
        module.fcntl(fd, getattr(fcntl, kind), WHOLE_FILE[fcntl.F_WRLCK])


def give_back(module, kind, fd):
    if kind in ("flock", "lockf"):
        getattr(module, kind)(fd, fcntl.LOCK_UN)
    else:
        module.fcntl(fd, getattr(fcntl, kind), WHOLE_FILE[fcntl.F_UNLCK])


def is_free(fd):
    """Whether the lock of the file could be taken through this descriptor."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


@pytest.fixture
def locks(lib):
    """The module under test."""
    return fcntl if lib.name == "original" else gevlite_fcntl


@pytest.fixture
def opened(tmp_path):
    """Files, each opened for itself: `opened[0]` and so on are descriptors of the same file."""
    fds = [os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(4)]
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass  # the test has closed it


HOLD = """
import fcntl, struct, sys
sys.path.insert(0, sys.argv[3])
from test_file_locks import take
file = open(sys.argv[1], "r+")
take(fcntl, sys.argv[2], file)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held_elsewhere(tmp_path, opened):
    """`held_elsewhere(kind)`: a process that has the lock until its `stdin` is closed."""
    started = []

    def start(kind):
        command = [sys.executable, "-c", HOLD, tmp_path / "file", kind, os.path.dirname(__file__)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"\n"
        return process

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.wait()


@with_kinds(KINDS)
def test_others_run_while_another_process_has_the_lock(lib, locks, opened, held_elsewhere, pipe, kind):
    process = held_elsewhere(kind)
    order = []

    def wait():
        os.write(pipe[1], b"begun")
        take(locks, kind, opened[0])
        order.append("taken")

    waiting = lib.spawn(wait)
    lib.module("os").read(pipe[0], 5)
    order.append("another")
    process.stdin.close()
    waiting.get()
    assert order == ["another", "taken"]
    give_back(locks, kind, opened[0])


@with_kinds(OF_A_FILE)
def test_greenlets_take_turns(lib, locks, opened, kind):
    """Each sleeps while it has the lock: a deadlock if another one blocked the thread."""
    inside, most = [], []

    def work(fd):
        for _ in range(3):
            take(locks, kind, fd)
            inside.append(fd)
            most.append(len(inside))
            lib.module("time").sleep(0.001)
            inside.remove(fd)
            give_back(locks, kind, fd)

    for working in [lib.spawn(work, fd) for fd in opened]:
        working.get()
    assert most == [1] * 12


def test_shared_locks_are_shared(locks, opened):
    locks.flock(opened[0], fcntl.LOCK_SH)
    locks.flock(opened[1], fcntl.LOCK_SH)
    with pytest.raises(BlockingIOError):
        locks.flock(opened[2], fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_only_the_part_of_the_file_that_is_asked_for_is_waited_for(locks, opened, tmp_path):
    code = "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX, 10, 5)"
    command = [sys.executable, "-c", f"{code}; print(flush=True); sys.stdin.read()", tmp_path / "file"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        locks.lockf(opened[0], fcntl.LOCK_EX, 5, 0)
        locks.lockf(opened[0], fcntl.LOCK_EX, 5, 15, os.SEEK_SET)
        for inside in ((1, 5), (1, 14, os.SEEK_SET)):
            with pytest.raises((BlockingIOError, PermissionError)):
                locks.lockf(opened[0], fcntl.LOCK_EX | fcntl.LOCK_NB, *inside)
        process.stdin.close()
        locks.lockf(opened[0], fcntl.LOCK_EX, 10, 5)


def test_a_file_object_will_do(locks, tmp_path):
    with open(tmp_path / "file", "w") as a, open(tmp_path / "file", "w") as b:
        locks.flock(a, fcntl.LOCK_EX)
        assert not is_free(b)
        locks.flock(a, fcntl.LOCK_UN)
        locks.lockf(b, fcntl.LOCK_EX)
        assert is_free(b)
    with pytest.raises(ValueError):
        locks.flock(a, fcntl.LOCK_EX)


@pytest.mark.parametrize("args", [
    (), (0,), ("fd",), ("fd", 0), ("fd", 64), ("fd", 1 << 70), ("fd", "x"), ("fd", None), (-1, 2), (9999, 2),
    (1 << 70, 2), (None, 2), ("x", 2), ("fd", 2, "x"), ("fd", 2, 0, 0, 9), ("fd", 2, -1),
    ("fd", 2, 0, 0, 0, 0), ("fd", 8 | 4),
])  # fmt: skip
@pytest.mark.parametrize("name", ["flock", "lockf"])
def test_errors_are_the_originals(hub, opened, name, args):
    def outcome(module):
        try:
            return getattr(module, name)(*[opened[0] if arg == "fd" else arg for arg in args])
        except Exception as exc:
            return type(exc), getattr(exc, "errno", None)

    assert outcome(gevlite_fcntl) == outcome(fcntl)


def test_the_signature_says_what_the_originals_does():
    for name in ("fcntl", "flock"):
        assert inspect.signature(getattr(gevlite_fcntl, name)) == inspect.signature(getattr(fcntl, name))


@with_kinds(OF_A_FILE)
def test_kill_while_waiting_leaves_the_lock_alone(start, hub, opened, kind):
    take(gevlite_fcntl, kind, opened[0])
    before = hub.stats()["timers"]
    waiting = start(take, gevlite_fcntl, kind, opened[1])
    gevlite.idle()
    assert hub.stats()["timers"] == before + 1
    waiting.greenlet.kill()
    assert hub.stats()["timers"] == before
    give_back(gevlite_fcntl, kind, opened[0])
    take(gevlite_fcntl, kind, opened[2])


def test_timeout_while_waiting(opened):
    gevlite_fcntl.flock(opened[0], fcntl.LOCK_EX)
    with pytest.raises(gevlite.Timeout):
        with gevlite.Timeout(0.01):
            gevlite_fcntl.flock(opened[1], fcntl.LOCK_EX)
    assert not is_free(opened[2])
    gevlite_fcntl.flock(opened[0], fcntl.LOCK_UN)
    assert is_free(opened[2])


@pytest.mark.uninterrupted  # else the timeout may strike while it has the lock
@pytest.mark.parametrize("milliseconds", range(0, 130, 10))
def test_a_timeout_that_races_with_the_release(clock, opened, milliseconds):
    """Either the time is over, or it has the lock."""
    gevlite_fcntl.flock(opened[0], fcntl.LOCK_EX)
    releasing = gevlite.spawn_later(milliseconds / 1000, gevlite_fcntl.flock, opened[0], fcntl.LOCK_UN)
    with gevlite.Timeout(0.063, False):  # at the end of a pause
        gevlite_fcntl.flock(opened[1], fcntl.LOCK_EX)
        assert not is_free(opened[2])
        gevlite_fcntl.flock(opened[1], fcntl.LOCK_UN)
    releasing.join()
    assert is_free(opened[2])


def test_after_a_long_wait_the_lock_is_found_soon(clock, opened):
    gevlite_fcntl.flock(opened[0], fcntl.LOCK_EX)
    gevlite.spawn_later(3600, gevlite_fcntl.flock, opened[0], fcntl.LOCK_UN)
    gevlite_fcntl.flock(opened[1], fcntl.LOCK_EX)
    assert 3600 <= clock.elapsed < 3600.06


def test_a_descriptor_that_is_closed_meanwhile_is_ebadf(start, opened):
    gevlite_fcntl.flock(opened[0], fcntl.LOCK_EX)
    waiting = start(gevlite_fcntl.flock, opened[1], fcntl.LOCK_EX)
    gevlite.sleep(0)
    os.close(opened[1])
    with pytest.raises(OSError) as caught:
        waiting.get()
    assert caught.value.errno == errno.EBADF


def test_another_file_that_gets_the_number_meanwhile_is_not_locked(start, opened, tmp_path):
    gevlite_fcntl.flock(opened[0], fcntl.LOCK_EX)
    waiting = start(gevlite_fcntl.flock, opened[1], fcntl.LOCK_EX)
    gevlite.idle()
    others = [os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    os.dup2(others[0], opened[1])
    with pytest.raises(OSError) as caught:
        waiting.get()
    assert caught.value.errno == errno.EBADF and is_free(others[1])
    for fd in others:
        os.close(fd)


def test_a_thread_without_a_hub_waits_in_the_kernel(monkeypatch, hub, opened):
    calls, original = [], fcntl.flock

    def flock(*args):
        calls.append(args)
        original(*args)

    monkeypatch.setattr(gevlite_fcntl, "_flock", flock)
    thread = threading.Thread(target=gevlite_fcntl.flock, args=(opened[0], fcntl.LOCK_EX))
    thread.start()
    thread.join()
    assert calls == [(opened[0], fcntl.LOCK_EX)] and not is_free(opened[1])


AUDIT = """
import fcntl, os, struct, sys, gevlite
from gevlite import _fcntl
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
gevlite.get_hub()
told = []
sys.addaudithook(lambda event, args: event.startswith("fcntl.") and told.append((event, args)))
whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
for name, *args in [
    ("flock", fcntl.LOCK_EX), ("flock", fcntl.LOCK_UN), ("flock", fcntl.LOCK_SH | fcntl.LOCK_NB),
    ("lockf", fcntl.LOCK_EX), ("lockf", fcntl.LOCK_EX, 1), ("lockf", fcntl.LOCK_SH, 1, 2, 0), ("lockf", 0),
    ("fcntl", fcntl.F_SETLKW, whole),
]:
    first = []
    for module in (fcntl, _fcntl):
        told.clear()
        try:
            getattr(module, name)(file, *args)
        except (ValueError, OSError):
            pass
        first.append(told[0])
    assert first[0] == first[1], first
print("as the original")
"""


@linux_64
def test_an_audit_hook_sees_the_call_as_it_was_made(run_script, tmp_path):
    assert run_script(AUDIT, str(tmp_path / "file")).stdout == "as the original\n"


def test_an_audit_hook_can_forbid_it(run_script, tmp_path):
    script = """
import fcntl, os, sys, gevlite
from gevlite import _fcntl
fds = [os.open(sys.argv[1], os.O_RDWR | os.O_CREAT) for _ in range(2)]
gevlite.get_hub()
def forbid(event, args):
    if event == "fcntl.flock" and args[1] == fcntl.LOCK_EX: raise PermissionError(event)
sys.addaudithook(forbid)
try: _fcntl.flock(fds[0], fcntl.LOCK_EX)
except PermissionError as exc: print(exc)
fcntl.flock(fds[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
"""
    assert run_script(script, str(tmp_path / "file")).stdout == "fcntl.flock\n"


def test_a_finalizer_at_the_very_end_gives_a_lock_back(run_script, tmp_path):
    script = """
import fcntl, os, sys, gevlite
from gevlite import _fcntl
class Lock:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
    def __del__(self, take=_fcntl.flock, part=_fcntl.lockf, write=os.write):
        take(self.fd, 2)
        part(self.fd, 2)
        take(self.fd, 8)
        write(1, b"given back")
gevlite.get_hub()
sys.kept = Lock(sys.argv[1])
"""
    result = run_script(script, str(tmp_path / "file"))
    assert (result.stdout, result.stderr) == ("given back", "")
