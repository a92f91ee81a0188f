"""Fork, child processes and multiprocessing under patching."""

import pytest


@pytest.mark.parametrize("where", ["main", "thread", "greenlet"])
def test_fork_takes_along_only_the_one_that_forks(script, where):
    """In the child the threads of the parent have ended and never run again; new ones work, and it exits by itself."""
    lines = script.run(
        f"""
        import os, sys, threading, time, warnings
        import gevlite
        warnings.simplefilter("ignore")
        parent = os.getpid()
        stop = threading.Event()
        def other():
            while not stop.wait(0.005):
                if os.getpid() != parent:
                    print("a thread of the parent runs in the child", flush=True)
                    os._exit(9)
        others = [threading.Thread(target=other) for _ in range(3)]
        for thread in others:
            thread.start()
        unbegun = gevlite.thread.start_new_thread(other, ())
        def forks():
            pid = os.fork()
            if pid == 0:
                assert threading.main_thread() is threading.current_thread()
                assert threading.enumerate() == [threading.current_thread()], threading.enumerate()
                assert not any(thread.is_alive() for thread in others)
                for thread in others:
                    thread.join()
                time.sleep(0.03)
                fresh = threading.Thread(target=time.sleep, args=(0.001,))
                fresh.start()
                fresh.join()
                os._exit(7)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status))
            assert all(thread.is_alive() for thread in others)
        where = {where!r}
        if where == "main":
            forks()
        elif where == "thread":
            thread = threading.Thread(target=forks)
            thread.start()
            thread.join()
        else:
            gevlite.spawn(forks).get()
        stop.set()
        """
    )
    assert lines == ["7"]


def test_subprocess_lets_others_run(script):
    """Each child ends only when all of them have begun."""
    child = script.write(
        """
        import os, pathlib, sys, time
        folder, name = sys.argv[1:]
        (pathlib.Path(folder) / name).touch()
        end = time.monotonic() + 20
        while len(os.listdir(folder)) < 4 and time.monotonic() < end:
            time.sleep(0.001)
        print(name, len(os.listdir(folder)))
        """,
        "child.py",
    )
    present = script.folder / "present"
    present.mkdir()
    lines = script.run(
        """
        import subprocess, sys
        import gevlite
        def work(n):
            command = [sys.executable, *sys.argv[1:], str(n)]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print([greenlet.get() for greenlet in [gevlite.spawn(work, n) for n in range(4)]])
        child = subprocess.Popen(["sleep", "100"])
        try:
            child.wait(0.01)
        except subprocess.TimeoutExpired:
            child.kill()
        print(child.wait())
        """,
        child,
        present,
    )
    assert lines == [str([f"{n} 4\n" for n in range(4)]), "-9"]


def test_multiprocessing_queue_between_threads_of_one_process(script):
    script.run(
        """
        import multiprocessing, threading
        channel = multiprocessing.Queue()
        got = []
        def take():
            got.extend(channel.get() for _ in range(3))
        thread = threading.Thread(target=take)
        thread.start()
        for n in range(3):
            channel.put(b"x" * 200_000)      # more than a pipe holds
        thread.join()
        assert [len(item) for item in got] == [200_000] * 3
        channel.close()
        channel.join_thread()
        """
    )


def test_a_fork_in_a_thread_takes_along_that_thread_only(script):
    """The main greenlet does not go on in the child, which ends when the thread has ended, without exit handlers."""
    script.run(
        """
        import atexit, os, sys, threading, time
        parent = os.getpid()
        reader, writer = os.pipe()
        atexit.register(lambda: os.write(writer, b"atexit"))
        def forker():
            pid = os.fork()
            if not pid:
                assert threading.current_thread() is threading.main_thread()
                written = threading.Event()
                def help():
                    written.wait()
                    time.sleep(0.02)
                    os.write(writer, b"helper ")
                threading.Thread(target=help).start()
                time.sleep(0.01)
                os.write(writer, b"thread ")
                written.set()
                return
            statuses.append(os.waitpid(pid, 0)[1])
        statuses = []
        thread = threading.Thread(target=forker)
        thread.start()
        while not statuses:
            time.sleep(0.001)           # would end in the child too, and go on below
            assert os.getpid() == parent
        assert statuses == [0]
        assert os.read(reader, 100) == b"thread helper "
        """
    )


def test_an_exception_for_the_main_thread_goes_to_the_thread_that_forked(script):
    script.run(
        """
        import os, signal, threading, time
        reader, writer = os.pipe()
        def forker():
            pid = os.fork()
            if not pid:
                def fail(*args):
                    signal.signal(signal.SIGUSR1, signal.SIG_IGN)       # no second one on the way out
                    1 / 0
                signal.signal(signal.SIGUSR1, fail)
                try:
                    os.write(writer, b"x")
                    time.sleep(20)
                except ZeroDivisionError:
                    os._exit(5)
                os._exit(6)
            os.read(reader, 1)
            while not statuses:
                os.kill(pid, signal.SIGUSR1)
                time.sleep(0.01)
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    statuses.append(os.waitstatus_to_exitcode(status))
        statuses = []
        thread = threading.Thread(target=forker)
        thread.start()
        thread.join()
        assert statuses == [5], statuses
        """
    )


def test_nobody_else_runs_in_a_process_of_multiprocessing(script):
    """No waiting greenlet, none that is about to start, and not the main one, whichever of them starts the process."""
    script.run(
        """
        import multiprocessing, os, threading, time
        import gevlite
        context = multiprocessing.get_context("fork")
        seen = []
        def tick():
            while True:
                seen.append(os.getpid())
                time.sleep(0.001)
        def child(end):
            for name in range(3):
                threading.Thread(target=time.sleep, args=(0.001,)).start()     # its own run, of course
            time.sleep(0.03)
            end.send(os.getpid() in seen)
        def start():
            mine, other = context.Pipe()
            gevlite.spawn(seen.append, "in the parent only")
            gevlite.spawn_raw(seen.append, "this too")
            before = len(seen)
            process = context.Process(target=child, args=(other,))
            process.start()
            answers.append(mine.recv())
            process.join()
            assert process.exitcode == 0
        answers = []
        ticking = gevlite.spawn(tick)
        gevlite.spawn_raw(tick)
        gevlite.sleep(0)
        start()                                     # by the main greenlet,
        gevlite.spawn(start).get(timeout=30)        # by another,
        thread = threading.Thread(target=start)     # and by a thread
        thread.start()
        while len(answers) < 3:
            seen.append(os.getpid())
            time.sleep(0.001)
        assert answers == [False] * 3, answers
        """
    )
