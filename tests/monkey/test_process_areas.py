"""Patching of subprocess, os, signal, builtins and contextvars."""

import os
import pty
import subprocess
import sys

import pytest

ONLY = "from gevlite import monkey\n"


# ---------------------------------------------------------------- subprocess


def test_everything_in_subprocess_lets_others_run(script):
    lines = script.run(
        """
        import os, subprocess, time, gevlite
        calls = [
            lambda: subprocess.run(["sleep", "0.3"]).returncode,
            lambda: subprocess.run(["sh", "-c", "sleep 0.3; echo x"], capture_output=True, timeout=20).returncode,
            lambda: subprocess.call("sleep 0.3", shell=True),
            lambda: subprocess.check_call(["sleep", "0.3"]),
            lambda: len(subprocess.check_output(["sleep", "0.3"])),
            lambda: subprocess.getstatusoutput("sleep 0.3")[0],
            lambda: len(subprocess.Popen(["sleep", "0.3"], stdout=subprocess.PIPE).stdout.read()),
            lambda: subprocess.Popen(["sleep", "0.3"]).wait(timeout=20),
            lambda: len(os.popen("sleep 0.3").read()),
            lambda: os.spawnlp(os.P_WAIT, "sleep", "sleep", "0.3"),
        ]
        began = time.monotonic()
        print([job.get() for job in [gevlite.spawn(call) for call in calls]])
        print(time.monotonic() - began < 2)     # one after the other they would take 3 seconds
        """
    )
    assert lines[-2:] == [str([0] * 10), "True"]


def test_who_has_imported_popen_or_derived_his_own_before_has_a_cooperative_one(script):
    script.write("from subprocess import Popen, run\nclass Mine(Popen): pass\n", "early.py")
    lines = script.run(
        """
        import time, warnings
        warnings.simplefilter("error")
        import early
        from gevlite import monkey
        monkey.patch_all()
        import subprocess, gevlite
        kinds = [early.Popen, early.Mine, subprocess.Popen]
        began = time.monotonic()
        jobs = [gevlite.spawn(lambda: kind(["sleep", "0.3"]).wait()) for kind in kinds for _ in range(3)]
        jobs.append(gevlite.spawn(early.run, ["sleep", "0.3"]))
        gevlite.joinall(jobs, raise_error=True)
        print(time.monotonic() - began < 1.5)
        with subprocess.Popen(["true"]) as process:
            assert isinstance(process, early.Popen)
        """,
        patch="",
    )
    assert lines == ["True"]


def test_the_functions_stay_and_look_popen_up_when_they_are_called(script):
    """So that tests can replace `subprocess.Popen`."""
    script.run(
        """
        import subprocess
        from unittest import mock
        run = subprocess.run
        monkey.patch_subprocess()
        assert subprocess.run is run
        assert monkey.is_module_patched("subprocess") and monkey.is_object_patched("subprocess", "Popen")
        with mock.patch("subprocess.Popen") as popen:
            popen.return_value.__enter__.return_value.communicate.return_value = ("out", "err")
            popen.return_value.__enter__.return_value.poll.return_value = 5
            assert subprocess.run(["nothing"]).returncode == 5
        """,
        patch=ONLY,
    )


def test_unpatching_gives_the_original_class_back_as_it_was(script):
    script.run(
        """
        import subprocess
        original = subprocess.Popen
        before = dict(vars(original))
        monkey.patch_all()
        assert subprocess.Popen is not original and dict(vars(original)) != before
        running = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        monkey.unpatch_all()
        assert subprocess.Popen is original and dict(vars(original)) == before
        assert running.communicate(b"x") == (b"x", None)        # one made meanwhile goes on
        assert subprocess.run(["cat"], input=b"y", capture_output=True).stdout == b"y"
        assert type(original(["true"])) is original
        """,
        patch=ONLY,
    )


def test_without_patching_os_the_start_of_a_program_is_the_only_thing_that_blocks(script):
    lines = script.run(
        """
        monkey.patch_subprocess()
        import os, subprocess, time, gevlite
        assert not monkey.is_module_patched("os")
        began = time.monotonic()
        jobs = [gevlite.spawn(subprocess.run, ["sleep", "0.3"], capture_output=True, text=True) for _ in range(8)]
        print([job.get().returncode for job in jobs], time.monotonic() - began < 1.5)
        """,
        patch=ONLY,
    )
    assert lines == [str([0] * 8) + " True"]


def test_preexec_fn_under_patching_stops_only_the_greenlet_that_starts_the_program(script):
    lines = script.run(
        """
        import os, subprocess, gevlite
        r, w = os.pipe()
        gevlite.spawn_later(0.05, os.write, w, b"go")
        done = subprocess.run(["echo", "went"], stdout=subprocess.PIPE, preexec_fn=lambda: os.read(r, 2), pass_fds=[r])
        print(done.stdout)
        """
    )
    assert lines == ["b'went\\n'"]


def test_asyncio_starts_programs(script):
    lines = script.run(
        """
        import asyncio, time, gevlite
        async def talk(n):
            process = await asyncio.create_subprocess_exec("sh", "-c", f"cat; sleep 0.2; exit {n}", stdin=-1, stdout=-1)
            out, _ = await process.communicate(b"data %d" % n)
            return out, process.returncode
        async def main():
            return await asyncio.gather(*[talk(n) for n in range(3)])
        ticks = []
        def tick():
            while True:
                time.sleep(0.01)
                ticks.append(1)
        ticker = gevlite.spawn(tick)
        print(asyncio.run(main()), len(ticks) > 3)
        ticker.kill()
        """
    )
    assert lines == ["[(b'data 0', 0), (b'data 1', 1), (b'data 2', 2)] True"]


def test_subprocess_in_threads_of_a_pool(script):
    lines = script.run(
        """
        import concurrent.futures, subprocess
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            print(sum(pool.map(lambda n: int(subprocess.check_output(["echo", str(n)])), range(40))))
        """
    )
    assert lines == [str(sum(range(40)))]


# ---------------------------------------------------------------- os


def test_os_is_patched_and_put_back(script):
    script.run(
        """
        import os
        from gevlite import os as twin
        before = {name: getattr(os, name) for name in twin.__implements__}
        assert {"close", "read", "write", "waitpid", "wait", "wait3", "wait4", "waitid"} <= before.keys()
        monkey.patch_os()
        assert all(getattr(os, name) is getattr(twin, name) for name in before)
        monkey.unpatch_all()
        assert all(getattr(os, name) is before[name] for name in before)
        """,
        patch=ONLY,
    )


def test_os_close_wakes_a_greenlet_that_reads(script):
    lines = script.run(
        """
        import os, gevlite
        r, w = os.pipe()
        def read():
            try:
                os.read(r, 1)
            except OSError as exc:
                return exc.errno
        reader = gevlite.spawn(read)
        gevlite.sleep(0)
        os.close(r)
        print(reader.get(timeout=10))
        """
    )
    assert lines == ["9"]


def test_threads_take_turns_with_the_lock_of_a_file(script):
    script.run(
        """
        import fcntl, os, sys, threading, time
        original = monkey.get_original("fcntl", "flock")
        order = []
        def work(n):
            with open(sys.argv[0]) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                order.append(n)
                time.sleep(0.01)
                order.append(n)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert order[::2] == order[1::2] and sorted(order) == [0, 0, 1, 1, 2, 2], order
        monkey.unpatch_all()
        assert fcntl.flock is original
        """
    )


def test_forked_children_are_waited_for_beside_others(script):
    lines = script.run(
        """
        import os, time, gevlite
        def work(n):
            pid = os.fork()
            if not pid:
                os.execlp("sh", "sh", "-c", f"sleep 0.2; exit {n}")
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        began = time.monotonic()
        print([job.get() for job in [gevlite.spawn(work, n) for n in range(8)]], time.monotonic() - began < 1.4)
        """
    )
    assert lines == ["[0, 1, 2, 3, 4, 5, 6, 7] True"]


# ---------------------------------------------------------------- signal


def test_sigwait_in_the_main_greenlet_lets_threads_run(script):
    lines = script.run(
        """
        import os, signal, threading, time
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        def work():
            time.sleep(0.05)
            print("worked", flush=True)
            signal.raise_signal(signal.SIGTERM)
        threading.Thread(target=work).start()
        print(signal.sigwait({signal.SIGTERM}).name)
        """
    )
    assert lines == ["worked", "SIGTERM"]


def test_pause_in_the_main_greenlet_lets_threads_run(script):
    lines = script.run(
        """
        import os, signal, threading, gevlite
        signal.signal(signal.SIGUSR1, lambda number, frame: print("handled", flush=True))
        def work():
            gevlite.idle()              # the main greenlet pauses
            os.kill(os.getpid(), signal.SIGUSR1)
        threading.Thread(target=work).start()
        signal.pause()
        print("end")
        """
    )
    assert lines == ["handled", "end"]


def test_after_an_asyncio_loop_signals_reach_the_hub_again(script):
    """Its close() clears the descriptor of `set_wakeup_fd`."""
    lines = script.run(
        """
        import asyncio, os, signal, threading, gevlite
        from gevlite.event import Event
        hub = gevlite.get_hub()
        async def main():
            came = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
            os.kill(os.getpid(), signal.SIGUSR1)
            await came.wait()
        asyncio.run(main())
        came = Event()
        signal.signal(signal.SIGUSR2, lambda *args: came.set())
        # One that lands on another thread, which does not interrupt our poll.
        original = monkey.get_original("_thread", "start_new_thread")
        send = lambda: signal.pthread_kill(monkey.get_original("threading", "get_ident")(), signal.SIGUSR2)
        gevlite.spawn_later(0.05, original, send, ())
        print(came.wait(timeout=20), signal.set_wakeup_fd(-1))
        """
    )
    assert lines == ["True -1"]


def test_signal_is_put_back(script):
    script.run(
        """
        import signal
        names = ["pause", "set_wakeup_fd", "sigwait", "sigwaitinfo", "sigtimedwait", "signal", "getsignal"]
        before = [getattr(signal, name) for name in names]
        monkey.patch_signal()
        assert all(getattr(signal, name) is not original for name, original in zip(names, before, strict=True))
        monkey.unpatch_all()
        assert [getattr(signal, name) for name in names] == before
        """,
        patch=ONLY,
    )


# ---------------------------------------------------------------- builtins

# Another greenlet that reports on standard error that it runs, while the main one waits for us.
TICK = """
def tick():
    gevlite.sleep(0.01)
    print("!", end="", file=sys.stderr, flush=True)
ticker = gevlite.spawn_later(0.01, tick)
"""
INPUT = "from gevlite import monkey\nmonkey.patch_all()\nimport sys, gevlite\n" + TICK


@pytest.fixture
def talk(script):
    """`talk(code)`: a Popen of a script that has a ticking greenlet, with pipes to its standard streams."""
    started = []

    def talk(code, patch=INPUT):
        path = script.write(patch + code)
        started.append(
            subprocess.Popen(
                [sys.executable, "-u", path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield talk
    for process in started:
        process.kill()
        process.communicate()


def test_input_blocks_only_the_greenlet_that_asks(talk):
    process = talk("""
name = input("name? ")
print("got", repr(name))
print(repr(input()), repr(input()))
try:
    input()
except EOFError as exc:
    print(exc)
""")
    assert process.stdout.read(6) == "name? "
    assert process.stderr.read(1) == "!"
    out, err = process.communicate("me\nfirst\nlast, without an end")
    assert out.splitlines() == ["got 'me'", "'first' 'last, without an end'", "EOF when reading a line"]
    assert (process.returncode, err) == (0, "")


def test_a_line_that_somebody_gave_up_waiting_for_is_not_lost(talk):
    process = talk("""
try:
    with gevlite.Timeout(0.05):
        input("?")
except gevlite.Timeout:
    pass
asking = [gevlite.spawn(input) for _ in range(3)]
gevlite.sleep(0.01)
asking[1].kill()
print("!", flush=True)
print([repr(g.get()) for g in (asking[0], asking[2])])
print(repr(sys.stdin.readline()))
""")
    process.stderr.read(1)
    assert process.stdout.read(2) == "?!"
    out, err = process.communicate("one\ntwo\nthree\n")
    assert out.splitlines()[-2:] == ["[\"'one'\", \"'two'\"]", "'three\\n'"]
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("patch", ["", "monkey.patch_sys()"])
def test_input_from_a_terminal(script, patch):
    ours, theirs = pty.openpty()
    path = script.write(INPUT + patch + "\nprint(repr(input('?')))")
    process = subprocess.Popen([sys.executable, path], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stderr.read(1) == b"!"
        os.write(ours, b"typed\n")
        assert process.communicate(timeout=30) == (b"?'typed'\n", b"")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_input_of_something_else_than_the_standard_input_is_the_original(script):
    lines = script.run(
        """
        import io, sys
        sys.stdin = io.StringIO("a line\\nanother\\n")
        print(input(), input())
        try:
            input()
        except EOFError:
            print("end")
        sys.stdin = None
        try:
            input()
        except RuntimeError as exc:
            print(exc)
        """
    )
    lost = "lost sys.stdin" if sys.version_info >= (3, 14) else "input(): lost sys.stdin"
    assert lines == ["a line another", "end", lost]


def test_a_greenlet_that_waits_for_input_does_not_keep_the_process_from_ending(talk):
    process = talk("""
asking = gevlite.spawn(input)
ticker.join()
print("end")
""")
    assert process.stdout.read() == "end\n"
    assert (process.wait(timeout=30), process.stderr.read()) == (0, "!")


def test_main_waiting_for_input_alone_is_no_dead_end(talk):
    process = talk("ticker.kill()\nprint('?')\nprint(input())")
    assert process.stdout.readline() == "?\n"
    assert process.communicate("x\n") == ("x\n", "")


def test_input_is_audited_as_the_original_is(talk):
    process = talk("""
sys.addaudithook(lambda event, args: event.startswith("builtins.input") and print(event, args))
input("?")
""")
    out, err = process.communicate("x\n")
    assert out.splitlines() == ["builtins.input ('?',)", "?builtins.input/result ('x',)"]


def test_builtins_are_put_back(script):
    script.run(
        """
        import builtins
        originals = [builtins.input]
        monkey.patch_builtins()
        assert builtins.input is not originals[0] and input is builtins.input
        monkey.unpatch_all()
        assert builtins.input is originals[0]
        """,
        patch=ONLY,
    )


# ---------------------------------------------------------------- sys

SYS = "from gevlite import monkey\nmonkey.patch_all(sys=True)\nimport sys, gevlite\n"


def test_the_standard_streams_are_left_alone_unless_asked_for(script):
    script.run(
        """
        import sys
        assert (sys.stdin, sys.stdout, sys.stderr) == (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        assert not monkey.is_module_patched("sys")
        """
    )


def test_reading_the_standard_input_blocks_only_the_reader(talk):
    process = talk(
        """
print(repr(sys.stdin.readline()), repr(input("prompt ")), repr(sys.stdin.buffer.readline()))
print([line for line in sys.stdin])
print(sys.stdin.name, sys.stdin.encoding, sys.stdin.fileno())
""",
        patch=SYS + TICK,
    )
    assert process.stderr.read(1) == "!"
    out, err = process.communicate("one\ntwo\n")
    assert (out.splitlines(), err) == (["prompt 'one\\n' 'two' b''", "[]", "<stdin> utf-8 0"], "")


def test_writing_to_a_full_standard_output_blocks_only_the_writer(talk):
    process = talk(
        """
print("x" * 1_000_000)
print("end", end="")
""",
        patch=SYS + TICK,
    )
    assert process.stderr.read(1) == "!"  # and the output has not been read
    out, err = process.communicate()
    assert (out, err) == ("x" * 1_000_000 + "\nend", "")


def test_what_is_in_the_buffer_at_the_end_is_written(script):
    path = script.write(SYS + "sys.stdout.write('not flushed')\nsys.stderr.write('nor this')")
    for flags in ([], ["-u"]):
        done = subprocess.run([sys.executable, *flags, path], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("not flushed", "nor this")


def test_a_failing_greenlet_is_reported_on_the_patched_standard_error(script):
    path = script.write(SYS + "gevlite.spawn(lambda: 1 / 0).join()")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert "ZeroDivisionError" in done.stderr and done.returncode == 0


def test_the_standard_streams_are_put_back(talk):
    process = talk(
        """
assert sys.stdout is not sys.__stdout__ and sys.stdin is not sys.__stdin__ and sys.stderr is not sys.__stderr__
print("before", end=" ")
monkey.unpatch_all()
assert (sys.stdin, sys.stdout, sys.stderr) == (sys.__stdin__, sys.__stdout__, sys.__stderr__)
print("after")
monkey.patch_sys(stdin=False, stderr=False)
assert (sys.stdin, sys.stderr) == (sys.__stdin__, sys.__stderr__)
print("again", sys.stdout is sys.__stdout__)
""",
        patch=SYS,
    )
    assert process.communicate() == ("before after\nagain False\n", "")


def test_streams_that_are_not_the_processs_own_are_left_alone(script):
    script.run(
        """
        import io, sys
        sys.stdin, before = io.StringIO(), (sys.stdin, sys.stdout)
        sys.stdout = None
        mine = sys.stdin
        monkey.patch_sys(stderr=False)
        assert sys.stdin is mine and sys.stdout is None
        """,
        patch=ONLY,
    )


# ---------------------------------------------------------------- contextvars


def test_each_greenlet_and_each_thread_has_its_own_context(script):
    lines = script.run(
        """
        import contextvars, threading, gevlite
        from gevlite import contextvars as twin
        assert all(getattr(contextvars, name) is getattr(twin, name) for name in twin.__all__)
        assert not monkey.is_module_patched("contextvars")
        var = contextvars.ContextVar("var", default="unset")
        var.set("main")
        seen = []
        def work(name):
            seen.append((name, var.get()))
            var.set(name)
            gevlite.sleep(0.001)
            seen.append((name, var.get()))
        thread = threading.Thread(target=work, args=("thread",))
        thread.start()
        gevlite.joinall([gevlite.spawn(work, "one"), gevlite.spawn(work, "two")], raise_error=True)
        thread.join()
        print(sorted(seen), var.get())
        """
    )
    expected = [("one", "main"), ("one", "one"), ("two", "main"), ("two", "two")]
    expected += [("thread", "unset"), ("thread", "thread")]
    assert lines == [f"{sorted(expected)} main"]
