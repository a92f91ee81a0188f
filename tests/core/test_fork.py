"""Which greenlets continue in the child of a fork, by `gevlite.config.fork_keeps`, and how such a child ends."""

import pytest

HEAD = """
import os, sys, time, warnings, gevlite, gevlite.hub
warnings.simplefilter("ignore")
parent = os.getpid()
reader, writer = os.pipe()

def tell(word):
    if os.getpid() != parent:
        os.write(writer, word.encode() + b" ")

def other():
    while True:
        gevlite.sleep(0.001)
        tell("other")

def told(pid, status=0):
    got = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(got) == status, os.waitstatus_to_exitcode(got)
    os.set_blocking(reader, False)
    try:
        return set(os.read(reader, 1 << 20).decode().split())
    except BlockingIOError:
        return set()
"""


@pytest.mark.parametrize("how", ["config", "environment"])
@pytest.mark.parametrize(
    "kept, words", [("none", {"forker"}), ("main", {"forker", "other"}), ("all", {"forker", "other"})]
)
def test_whom_a_fork_in_the_main_greenlet_keeps(run_script, kept, words, how):
    run_script(
        HEAD
        + (f"gevlite.config.fork_keeps = {kept!r}\n" if how == "config" else "")
        + f"""
gevlite.spawn(other)
gevlite.spawn_later(0.005, other)
gevlite.spawn_raw(other)
gevlite.sleep(0.002)
pid = os.fork()
if not pid:
    gevlite.sleep(0.05)
    gevlite.spawn(tell, "forker").join()
    os._exit(0)
assert told(pid) == {words!r}
""",
        env={"GEVLITE_FORK_KEEPS": kept} if how == "environment" else None,
    )


@pytest.mark.parametrize("kind", ["spawn", "spawn_raw"])
@pytest.mark.parametrize(
    "kept, words", [("none", {"forker"}), ("main", {"forker"}), ("all", {"forker", "other", "main"})]
)
def test_whom_a_fork_in_a_greenlet_keeps(run_script, kept, words, kind):
    run_script(
        HEAD
        + f"""
gevlite.config.fork_keeps = {kept!r}
pids = []
def forks():
    pid = os.fork()
    if pid:
        pids.append(pid)
        return
    gevlite.sleep(0.05)
    gevlite.spawn(tell, "forker").join()
    os._exit(0)
gevlite.spawn(other)
gevlite.spawn_later(0.005, other)
gevlite.spawn_raw(other)
gevlite.{kind}(forks)
started = time.monotonic()
while not pids or time.monotonic() < started + 0.01:
    gevlite.sleep(0.001)
    tell("main")
assert told(pids[0]) == {words!r}
"""
    )


def test_a_time_limit_of_the_main_greenlet_does_not_bring_it_back(run_script):
    run_script(
        HEAD
        + """
def forks():
    pid = os.fork()
    if pid:
        return pid
    gevlite.sleep(0.6)
    os._exit(0)
try:
    with gevlite.Timeout(0.3):
        try:
            g = gevlite.spawn(forks)
            pid = g.get()
            gevlite.sleep(1)
        finally:
            tell("main")
except gevlite.Timeout:
    pass
assert told(pid) == set()
"""
    )


@pytest.mark.parametrize("kind", ["spawn", "spawn_raw"])
@pytest.mark.parametrize(
    "last, status",
    [("return", 0), ("sys.exit()", 0), ("sys.exit(3)", 3), ("sys.exit('no')", 1), ("raise ValueError", 1)],
)
def test_the_end_of_the_greenlet_that_forked_ends_the_child(run_script, kind, last, status):
    """As at the end of a program: non-daemon threads have ended, exit functions have run."""
    if (kind, last) == ("spawn_raw", "raise ValueError"):
        status = 0  # the result of a raw greenlet is not kept
    run_script(
        HEAD
        + f"""
import atexit, threading
pids = []
def forks():
    pid = os.fork()
    if pid:
        pids.append(pid)
        return
    sys.stderr = open(os.devnull, "w")
    atexit.register(tell, "atexit")
    threading.Thread(target=lambda: (time.sleep(0.02), tell("thread"))).start()
    gevlite.spawn(other)
    {last}
gevlite.{kind}(forks)
while not pids:
    gevlite.sleep(0.001)
    tell("main")
assert told(pids[0], {status}) - {{"other"}} == {{"thread", "atexit"}}
"""
    )


def test_an_exit_function_that_waits_leaves_the_status_as_it_is(run_script):
    run_script(
        HEAD
        + """
import atexit
pids = []
def ends():
    gevlite.sleep(0.01)
    tell("atexit")
def forks():
    pid = os.fork()
    if pid:
        pids.append(pid)
        return
    sys.stderr = open(os.devnull, "w")
    atexit.register(ends)
    sys.exit(3)
gevlite.spawn(forks)
while not pids:
    gevlite.sleep(0.001)
assert told(pids[0], 3) == {"atexit"}
"""
    )


def test_what_is_for_the_main_greenlet_goes_to_the_one_that_forked(run_script):
    run_script(
        HEAD
        + """
import signal
def forks():
    pid = os.fork()
    if pid:
        return pid
    try:
        gevlite.spawn_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        gevlite.sleep(10)
    except KeyboardInterrupt:
        tell("interrupted")
    try:
        gevlite.event.Event().wait()
    except gevlite.LoopExit:
        tell("exit")
    gevlite.get_hub().destroy()
    gevlite.sleep(0.001)
    os._exit(5)
import gevlite.event
pid = gevlite.spawn(forks).get()
assert told(pid, 5) == {"interrupted", "exit"}
"""
    )


def test_a_fork_in_a_callback_of_the_hub_keeps_the_main_greenlet(run_script):
    run_script(
        HEAD
        + """
pids = []
gevlite.spawn(other)
def forks():
    gevlite.sleep(0.001)            # another greenlet runs the loop now
    pids.append(os.fork())
    gevlite.sleep(0.02)
gevlite.config.fork_keeps = "none"
gevlite.get_hub().call_soon(forks)
while not pids:
    gevlite.sleep(0.001)
if not pids[0]:
    gevlite.sleep(0.05)
    tell("main")
    os._exit(0)
assert told(pids[0]) == {"main"}
"""
    )


@pytest.mark.parametrize("kept", ["none", "main", "all"])
def test_a_fork_in_a_signal_handler(run_script, kept):
    run_script(
        HEAD
        + f"""
import signal
gevlite.config.fork_keeps = {kept!r}
pids = []
def handler(*args):
    gevlite.sleep(0.001)
    pids.append(os.fork())
    gevlite.sleep(0.001)
signal.signal(signal.SIGUSR1, handler)
import subprocess
sender = subprocess.Popen(["kill", "-USR1", str(os.getpid())])
while not pids:
    gevlite.sleep(1)                # it forks in the middle of this
gevlite.spawn(tell, "child").join()
if not pids[0]:
    os._exit(0)
assert told(pids[0]) == {{"child"}}
"""
    )


def test_a_fork_while_a_callback_waits_in_the_hub(run_script):
    """The loop continues in the child, whichever greenlet ran it in the parent."""
    run_script(
        HEAD
        + """
import gevlite.event
hub, event = gevlite.get_hub(), gevlite.event.Event()
for _ in range(10):
    hub.call_soon(lambda: (event.wait(), tell("callback")))
def forks():
    pid = os.fork()
    if pid:
        return pid
    event.set()
    for _ in range(3):
        gevlite.joinall([gevlite.spawn(gevlite.sleep, 0.001) for _ in range(20)])
        hub.call_soon(gevlite.sleep, 0.001)
    tell("forker")
    os._exit(0)
gevlite.sleep(0.001)
pid = gevlite.spawn(forks).get()
assert told(pid) == {"forker"}
event.set()
gevlite.sleep(0.001)
assert hub.stats()["parked"] == 0
"""
    )


def test_a_forked_thread_that_has_ended_leaves_the_others_waiting_without_work(run_script):
    run_script(
        HEAD
        + """
import gevlite.monkey
gevlite.monkey.patch_all()
import threading, resource, signal
pids = []
def forks():
    pid = os.fork()
    if pid:
        pids.append(pid)
        return
    threading.Thread(target=threading.Event().wait).start()
    gevlite.spawn_later(0.3, tell, "runs")
threading.Thread(target=forks).start()
time.sleep(1.0)
os.kill(pids[0], signal.SIGKILL)
assert told(pids[0], -signal.SIGKILL) == {"runs"}
used = resource.getrusage(resource.RUSAGE_CHILDREN)
assert used.ru_utime + used.ru_stime < 0.3
"""
    )


def test_a_wrong_setting_is_an_error():
    import gevlite

    with pytest.raises(ValueError, match="none, main or all"):
        gevlite.config.fork_keeps = "some"
    with pytest.raises(TypeError):
        gevlite.config.fork_keeps = True
