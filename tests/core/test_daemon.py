"""A child may close all descriptors that it does not know, as daemons do: the hub has none before it is used."""

import pytest

from gevlite import backends

BACKENDS = [name for name, problem in backends.available().items() if problem is None]

# `daemon()` returns in the daemon; the process that calls it ends with its exit code.
HEAD = """
    import os, signal, sys, threading, traceback, gevlite
    from gevlite import socket, subprocess
    from gevlite.event import Event

    def ends_well(pid):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    @gevlite.uninterrupted      # at the end of a time slice, the hub would poll before the descriptors are closed
    def in_child(function):
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def detach():
        os.setsid()
        ends_well(in_child(in_grandchild))

    def in_grandchild():
        os.closerange(3, 4096)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):                           # what goes wrong is to be seen on 2
            os.dup2(null, fd)
        os.close(null)
        daemon()

    def use():
        gevlite.sleep(0.001)
        a, b = socket.socketpair()
        job = gevlite.spawn(a.recv, 10)
        gevlite.sleep(0.001)
        b.sendall(b"works")
        assert job.get(timeout=20) == b"works"
        a.close(), b.close()

    def is_told():
        # By another thread, which runs no handlers: only the hub's descriptor ends its poll.
        came, hub = Event(), gevlite.get_hub()
        signal.signal(signal.SIGUSR1, lambda number, frame: came.set())
        def send():
            while "polling" not in repr(hub):
                pass
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        thread = threading.Thread(target=send)
        thread.start()
        assert came.wait(20)
        thread.join()
"""


@pytest.fixture(params=BACKENDS)
def run(run_script, request):
    return lambda source, patched="": run_script(patched + HEAD + source, env={"GEVLITE_BACKEND": request.param})


def test_a_daemon_that_closes_what_it_inherited_uses_everything(run):
    run("""
    def daemon():
        use()
        is_told()
        assert subprocess.check_output(["echo", "x"]) == b"x\\n"
        done = Event()
        threading.Thread(target=done.set).start()
        assert done.wait(20)
        use()

    use()
    ends_well(in_child(detach))
    use()
    """)


def test_a_patched_daemon_uses_everything(run):
    run(
        """
    def daemon():
        use()
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert subprocess.check_output(["echo", "x"]) == b"x\\n"
        use()

    use()
    ends_well(in_child(detach))
    use()
    """,
        patched="""
    import gevlite.monkey
    gevlite.monkey.patch_all()
    """,
    )


def test_signals_write_nothing_into_the_files_of_a_daemon(run, tmp_path):
    path = tmp_path / "pid"
    run(f"""
    def daemon():
        came = []
        signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
        # Each number that the hub had, or that it would get now.
        files = [os.open({str(path)!r} + str(i), os.O_RDWR | os.O_CREAT) for i in range(20)]
        for fd in files:
            os.write(fd, b"pid")
        for _ in range(3):                      # before the hub is used, and after that
            os.kill(os.getpid(), signal.SIGUSR1)
            use()
            is_told()
            signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
        assert came == [signal.SIGUSR1] * 3
        gevlite.get_hub().destroy()
        for fd in files:
            assert os.pread(fd, 100, 0) == b"pid"
            os.close(fd)                        # EBADF if the hub had closed it

    use()
    ends_well(in_child(detach))
    """)
    assert (tmp_path / "pid0").read_bytes() == b"pid"


def test_a_hub_of_which_the_child_closed_everything_ends_unused(run):
    run("""
    def daemon():
        hub = gevlite.get_hub()
        files = [os.open(os.devnull, os.O_RDWR) for _ in range(20)]
        repr(hub), hub.stats(), hub.backend.name
        hub.destroy()
        for fd in files:
            os.fstat(fd)
        use()
        is_told()

    use()
    ends_well(in_child(detach))
    """)


def test_what_waited_for_a_descriptor_before_the_fork_learns_that_it_is_closed(run):
    run("""
    a, b = socket.socketpair()
    waiting = gevlite.spawn(a.recv, 10)
    r, w = os.pipe()
    reading = gevlite.spawn(gevlite.get_hub().wait_fd, r, 1)
    use()

    def daemon():
        for job in (waiting, reading):
            try:
                job.get(timeout=20)
            except OSError as exc:
                assert exc.errno == 9
            else:
                raise AssertionError(job)
        use()

    ends_well(in_child(detach))
    b.sendall(b"x")
    os.write(w, b"x")
    assert waiting.get(timeout=20) == b"x" and reading.get(timeout=20) == 1
    """)


def test_what_waits_for_a_descriptor_is_polled_in_a_child_that_is_never_idle(run):
    run("""
    r, w = os.pipe()
    reading = gevlite.spawn(gevlite.get_hub().wait_fd, r, 1)
    use()

    def child():
        os.write(w, b"x")
        while not reading.ready():
            gevlite.sleep(0)
        late = gevlite.spawn(gevlite.get_hub().wait_fd, r, 1)
        while not late.ready():
            gevlite.sleep(0)

    def unused():
        late = gevlite.spawn(gevlite.get_hub().wait_fd, w, 2)
        while not late.ready():
            gevlite.sleep(0)

    ends_well(in_child(child))
    ends_well(in_child(unused))
    """)


def test_another_thread_wakes_a_hub_that_the_child_has_not_used(run):
    run("""
    def daemon():
        for early in (True, False):
            def child():
                done = Event()
                thread = threading.Thread(target=done.set)
                thread.start()
                if early:
                    thread.join()
                assert done.wait(20)
                thread.join()
            ends_well(in_child(child))

    use()
    ends_well(in_child(detach))
    """)


def test_a_signal_that_comes_while_nothing_is_told_of_it_ends_the_first_wait(run):
    run("""
    def child():
        came, hub = Event(), gevlite.get_hub()
        signal.signal(signal.SIGALRM, lambda number, frame: came.set())
        signal.setitimer(signal.ITIMER_REAL, 0.0001)
        assert came.wait(20)

    use()
    for _ in range(20):
        ends_well(in_child(child))
    """)


def test_pause_ends_in_a_child_that_has_not_used_its_hub(run):
    run("""
    from gevlite.signal import pause

    def child():
        came = []
        signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
        gevlite.spawn_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        pause()
        assert came == [signal.SIGUSR1]

    use()
    ends_well(in_child(child))
    """)


def test_set_wakeup_fd_of_another_library_stays_when_the_child_first_uses_its_hub(run):
    run("""
    def child():
        r, w = os.pipe()
        os.set_blocking(w, False)
        assert signal.set_wakeup_fd(w) == -1
        use()
        assert signal.set_wakeup_fd(-1) == w

    use()
    ends_well(in_child(child))
    """)


def test_a_child_that_never_waits_has_no_descriptors_of_the_hub(run):
    run("""
    def opened():
        found = set()
        for fd in range(3, 64):
            try:
                os.fstat(fd)
            except OSError:
                continue
            found.add(fd)
        return found

    before = opened()
    use()
    assert opened() > before

    def child():
        assert opened() == before
        ends_well(in_child(lambda: None))
        assert opened() == before
        use()
        ends_well(in_child(use))
        use()

    ends_well(in_child(child))
    """)


def test_a_daemon_attaches_to_a_loop_of_asyncio_before_anything_else(run):
    run("""
    def daemon():
        import asyncio
        import gevlite.asyncio

        async def main():
            with gevlite.asyncio.attach():
                job = gevlite.spawn(use)
                while not job.ready():
                    await asyncio.sleep(0.001)
                job.get()

        asyncio.run(main())
        use()

    use()
    ends_well(in_child(detach))
    """)


def test_the_descriptor_of_the_loop_is_the_childs_own(run_script):
    run_script(
        HEAD
        + """
    def daemon():
        fd = gevlite.get_hub().loop.fileno()
        assert fd is None or os.fstat(fd)
        use()
        assert fd == gevlite.get_hub().loop.fileno()

    use()
    ends_well(in_child(detach))
    """
    )


# At the end of a time slice, the hub would poll in the child before the program looks.
WHOLE = {"GEVLITE_TIME_SLICE": ""}

PYTHON_BACKEND = """
    import os, gevlite
    from gevlite import backends

    calls = []
    base = type(backends.choose(None)[0])

    class Mine(base):
        name = "mine"
        {says}
        def after_fork(self):
            super().after_fork()
            calls.append("after_fork")
        def close(self):
            super().close()
            calls.append("close")

    from gevlite.hub import Hub
    hub = Hub(backend=Mine)
    gevlite.sleep(0.001)
    pid = os.fork()
    if not pid:
        at_fork = list(calls)
        gevlite.sleep(0.001)
        while hub.backend.signal_fd < 0:    # on a busy machine, the time was over before the hub had polled
            gevlite.sleep(0.001)
        os._exit(0 if (at_fork, calls) == {expected!r} and hub.backend.name == "mine" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


@pytest.mark.parametrize(
    "says, expected",
    [
        ("", (["after_fork"], ["after_fork"])),
        ("late_after_fork = False", (["after_fork"], ["after_fork"])),
        ("late_after_fork = True", (["close"], ["close", "after_fork"])),
    ],
    ids=["says-nothing", "not-late", "late"],
)
def test_a_backend_from_elsewhere_is_renewed_at_the_fork_unless_its_class_says_late(run_script, says, expected):
    # Backend.after_fork calls the `close` of the base class, not that of a subclass.
    run_script(PYTHON_BACKEND.format(says=says, expected=expected), env=WHOLE)


def test_a_subclass_that_changes_neither_is_renewed_as_its_base_class(run_script):
    run_script(
        """
    import os, gevlite
    from gevlite import backends
    from gevlite.hub import Hub

    class Mine(type(backends.choose(None)[0])):
        def poll(self, timeout_ns):
            return super().poll(timeout_ns)

    hub = Hub(backend=Mine)
    gevlite.sleep(0.001)
    pid = os.fork()
    if not pid:
        at_fork = hub.backend.signal_fd
        while hub.backend.signal_fd < 0:
            gevlite.sleep(0.001)
        os._exit(0 if at_fork == -1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """,
        env=WHOLE,
    )


def test_an_after_fork_that_fails_late_is_told_to_the_child_whenever_it_waits(run_script):
    run_script(
        """
    import os, gevlite
    from gevlite import backends
    from gevlite.hub import Hub

    class Mine(type(backends.choose(None)[0])):
        late_after_fork = True
        def after_fork(self):
            raise ValueError("out of paper")

    hub = Hub(backend=Mine)
    gevlite.sleep(0.001)
    pid = os.fork()
    if not pid:
        told = []
        for _ in range(2):
            try:
                gevlite.sleep(20)
            except RuntimeError as exc:
                told.append(str(exc.__cause__))
        os._exit(0 if told == ["out of paper"] * 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    gevlite.sleep(0.001)
    """,
        env=WHOLE,
    )
