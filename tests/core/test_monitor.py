"""The thread that watches a hub: what it reports, what it does not, and that it leaves nothing behind."""

import sys
import time
from _thread import _count

import pytest

import gevlite
from gevlite import _monitor, events, util
from gevlite._monitor import PeriodicMonitoringThread


@pytest.fixture
def setting(monkeypatch):
    return lambda name, value: monkeypatch.setitem(gevlite.config._assigned, name, value)


@pytest.fixture
def seen(monkeypatch):
    """The events that the subscribers get."""
    found = []
    monkeypatch.setattr(events, "subscribers", [found.append])
    return found


@pytest.fixture
def monitor(hub, setting, seen):
    """A monitoring thread of this hub that looks often and prints nothing."""
    setting("max_blocking_time", 0.02)
    setting("print_blocking_reports", False)
    made = hub.start_periodic_monitoring_thread()
    yield made
    made.kill()
    made._wait_for_end()
    del hub.periodic_monitoring_thread


def blocked(seen, by=None):
    return [event for event in seen if isinstance(event, events.EventLoopBlocked) and by in (None, event.greenlet)]


def run_on(until):
    """Let no other greenlet run until `until()` is true."""
    deadline = time.monotonic() + 20
    with gevlite.uninterrupted():
        while not until():
            assert time.monotonic() < deadline
            time.sleep(0.001)  # MARK


def looks(monitor, count=5):
    """A condition: true when the monitor has checked this often from now on."""
    done = []
    monitor.add_monitoring_function(done.append, 0.005)
    return lambda: len(done) >= count


MARK = next(i for i, line in enumerate(open(__file__, encoding="utf-8"), 1) if line.rstrip().endswith("# MARK"))


# ---------------------------------------------------------------- blocking


def test_a_greenlet_that_runs_on_is_reported_with_its_stack(hub, monitor, seen, start):
    for _ in range(3):
        start(gevlite.sleep, 100)  # compiled, so that it has no Python frame either
    gevlite.sleep(0)
    job = gevlite.spawn(run_on, lambda: blocked(seen, gevlite.getcurrent()))
    job.get()
    event = blocked(seen, job)[0]  # a slow machine may have held up another one before
    assert event.hub is hub
    assert event.blocking_time >= 0.02
    assert events.IEventLoopBlocked.providedBy(event)
    text = "\n".join(event.info)
    assert f'<Greenlet "{job.name}" at {id(job):#x}: run_on(' in event.info[0] and __file__ in text
    assert any(f"line {MARK + line}, in run_on" in text for line in (-2, -1, 0))


def test_the_main_greenlet_a_raw_one_and_a_callback_are_reported_too(hub, monitor, seen, settle):
    run_on(lambda: blocked(seen))
    assert blocked(seen)[0].greenlet is gevlite.getcurrent()
    assert blocked(seen)[0].info[0].startswith("The main greenlet has run for ")
    seen.clear()
    raw = gevlite.spawn_raw(run_on, lambda: blocked(seen, gevlite.getcurrent()))
    assert settle(lambda: raw.dead)
    assert blocked(seen, raw)
    seen.clear()
    hub.call_soon(run_on, lambda: blocked(seen, hub))
    assert settle(lambda: blocked(seen, hub))


def test_what_has_no_python_code_is_reported(hub, monitor, seen, settle):
    raw = None
    while raw is None or not blocked(seen, raw):
        raw = gevlite.spawn_raw(time.sleep, 0.1)
        while not raw.dead:
            gevlite.sleep(0.001)


def test_a_hub_that_polls_and_greenlets_that_take_turns_are_not_reported(monitor, seen, setting, settle):
    setting("max_blocking_time", 0.2)
    seen.clear()
    enough = looks(monitor, 20)
    gevlite.sleep(0)
    while not enough():
        gevlite.sleep(0.5)  # the hub polls for longer than max_blocking_time
    enough = looks(monitor, 100)
    others = [gevlite.spawn(settle, enough) for _ in range(3)]
    while not enough():
        gevlite.sleep(0)  # by direct handoff
    gevlite.joinall(others)
    # (A machine that is too busy may stop our thread at any place; but not all the time.)
    assert len(blocked(seen)) < 2


@pytest.mark.uninterrupted
def test_the_same_run_is_reported_again_when_its_time_has_doubled(monitor, seen):
    gevlite.sleep(0)
    seen.clear()  # reports of the run before
    run_on(lambda: len(blocked(seen)) >= 3)
    first, second, third = blocked(seen)[:3]
    assert second.blocking_time >= 2 * first.blocking_time and third.blocking_time >= 2 * second.blocking_time
    assert first.greenlet is second.greenlet is third.greenlet is gevlite.getcurrent()


@pytest.mark.uninterrupted
def test_who_means_to_block_is_not_reported_until_it_switches(monitor, seen):
    monitor.ignore_current_greenlet_blocking()
    run_on(looks(monitor, 2))
    seen.clear()  # reports from before that, if the test was slow to get here
    run_on(looks(monitor, 20))
    assert not blocked(seen)
    monitor.monitor_current_greenlet_blocking()
    run_on(lambda: blocked(seen))
    monitor.ignore_current_greenlet_blocking()
    gevlite.sleep(0.001)
    seen.clear()
    run_on(lambda: blocked(seen))


def test_reports_are_printed_and_a_subscriber_may_change_them(hub, monitor, seen, setting, monkeypatch):
    written = []

    class Stream:
        write = written.append

        def flush(self):
            pass

    events.subscribers.append(lambda event: event.info.append("added by a subscriber"))
    monkeypatch.setattr(hub, "exception_stream", Stream())
    setting("print_blocking_reports", True)
    run_on(lambda: any("in run_on" in text for text in written))
    assert all(text.endswith("added by a subscriber\n\n") for text in written)
    assert len(written) <= len(blocked(seen)), "one write for each report"


def test_errors_of_subscribers_and_functions_are_shown_and_it_goes_on(monitor, seen, monkeypatch):
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: errors.append(info.exc_type))

    def fail(event):
        raise LookupError

    def fail_too(hub):
        raise ArithmeticError

    events.subscribers.append(fail)
    monitor.add_monitoring_function(fail_too, 0.005)
    run_on(lambda: errors.count(LookupError) >= 2 and errors.count(ArithmeticError) >= 2)


# ---------------------------------------------------------------- functions


def test_functions_are_called_with_the_hub_until_they_are_taken_back(hub, monitor):
    calls = []

    def look(found):
        calls.append((found, _monitor.runs_here()))

    monitor.add_monitoring_function(look, 100)
    monitor.add_monitoring_function(look, 0.005)
    [entry] = [entry for entry in monitor.monitoring_functions() if entry.function is look]
    assert entry.period == 0.005 and monitor.calculate_sleep_time() == 0.005
    run_on(lambda: len(calls) >= 3)
    assert set(calls) == {(hub, True)} and not _monitor.runs_here()
    monitor.add_monitoring_function(look, None)
    assert entry not in monitor.monitoring_functions()
    assert monitor.calculate_sleep_time() == 0.02
    monitor.add_monitoring_function(monitor.monitor_blocking, None)
    assert monitor.monitoring_functions() == []
    assert monitor.calculate_sleep_time() == monitor.inactive_sleep_time


@pytest.mark.parametrize(("function", "period"), [(5, 1), (print, 0), (print, -1), (print, float("nan"))])
def test_what_cannot_be_called_regularly_is_refused(function, period, monitor):
    before = monitor.monitoring_functions()
    with pytest.raises(ValueError, match="must be "):
        monitor.add_monitoring_function(function, period)
    assert monitor.monitoring_functions() == before


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("reader", [_monitor._find_memory_reader(), _monitor._read_statm], ids=["best", "statm"])
def test_memory_is_told_while_it_grows_and_once_when_there_is_enough_again(reader, hub, monitor, setting, seen):
    try:
        used, _details = reader()
    except OSError:
        pytest.skip("this system has no /proc/self/statm")
    assert 1024**2 < used < 1024**4
    assert monitor.monitor_memory_usage(hub) == -1
    monitor.add_monitoring_function(monitor.monitor_memory_usage, None)  # only we call it
    usage = [500]
    monitor._reader = (lambda: (usage[0], "details"),)
    setting("max_memory_usage", 100)
    event = monitor.monitor_memory_usage(hub)
    assert events.IMemoryUsageThresholdExceeded.providedBy(event)
    assert (event.mem_usage, event.max_allowed, event.memory_info) == (500, 100, "details")
    assert monitor.monitor_memory_usage(hub) is None
    usage[0] = 600
    assert monitor.monitor_memory_usage(hub).mem_usage == 600
    usage[0] = 50
    event = monitor.monitor_memory_usage(hub)
    assert events.IMemoryUsageUnderThreshold.providedBy(event) and event.max_memory_usage == 600
    assert monitor.monitor_memory_usage(hub) is None
    assert [event for event in seen if hasattr(event, "mem_usage")][-1] is event


def test_the_thread_watches_memory_as_soon_as_there_is_a_limit(monitor, setting, seen):
    setting("memory_monitor_period", 0.1)
    setting("max_memory_usage", 1024)
    [entry] = [entry for entry in monitor.monitoring_functions() if entry.function == monitor.monitor_memory_usage]
    assert entry.period == monitor.min_memory_monitor_period
    run_on(lambda: any(isinstance(event, events.MemoryUsageThresholdExceeded) for event in seen))


def test_a_limit_that_cannot_be_watched_says_what_is_missing(monitor, setting):
    monitor.add_monitoring_function(monitor.monitor_memory_usage, None)
    monitor._reader = (None,)
    setting("max_memory_usage", 1024)
    with pytest.warns(RuntimeWarning, match="pip install psutil"):
        assert monitor._memory_period() is None
    assert not monitor.can_monitor_memory_usage() and monitor.monitor_memory_usage() == -1


# ---------------------------------------------------------------- the thread


def test_there_is_one_for_each_hub_and_it_is_told_when_it_starts(hub, monitor, seen):
    assert hub.periodic_monitoring_thread is monitor is hub.start_periodic_monitoring_thread()
    assert isinstance(monitor, events.IPeriodicMonitorThread) and isinstance(monitor, PeriodicMonitoringThread)
    [event] = [event for event in seen if isinstance(event, events.IPeriodicMonitorThreadStartedEvent)]
    assert event.monitor is monitor
    monitor.kill()
    assert "ended" in repr(monitor)
    other = hub.start_periodic_monitoring_thread()
    assert other is not monitor and hub.periodic_monitoring_thread is other
    other.kill()
    other._wait_for_end()


def test_entry_points_are_called_when_it_starts(hub, setting, monkeypatch, seen):
    import importlib.metadata

    called = []

    class Found:
        def load(self):
            return called.append

    asked = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: asked.append(group) or [Found()])
    made = hub.start_periodic_monitoring_thread()
    made.kill()
    made._wait_for_end()
    del hub.periodic_monitoring_thread
    assert called[0].monitor is made and asked == ["gevlite.plugins.hub.periodic_monitor_thread_started"]


def test_it_ends_with_its_hub():
    from gevlite.threadpool import ThreadPool

    def in_another_thread():
        made = gevlite.get_hub().start_periodic_monitoring_thread()
        assert made.hub is gevlite.get_hub()
        gevlite.get_hub().destroy()
        made._wait_for_end()
        with pytest.raises(gevlite.hub.HubDestroyed):
            PeriodicMonitoringThread(made.hub or hub)
        return made

    pool = ThreadPool(1)
    hub = None
    threads = _count()

    def run():
        nonlocal hub
        hub = gevlite.get_hub()
        return in_another_thread()

    made = pool.apply(run)
    assert not made.should_run and _count() <= threads + 1
    pool.kill()


def test_it_does_not_hold_off_a_loop_exit(run_script):
    # (Not in this process, where a handler of pytest-timeout's SIGALRM might wake a greenlet.)
    assert (
        run_script("""
        import gevlite
        from gevlite.event import Event
        looks = []
        monitor = gevlite.get_hub().start_periodic_monitoring_thread()
        monitor.add_monitoring_function(looks.append, 0.005)
        while not looks:
            gevlite.sleep(0.001)
        try:
            Event().wait()
        except gevlite.LoopExit:
            print("told")
    """).stdout
        == "told\n"
    )


def test_it_is_no_thread_of_the_program(monitor):
    from gevlite import thread

    run_on(looks(monitor, 1))
    alone = thread._count()
    monitor.kill()
    monitor._wait_for_end()
    assert thread._count() in (alone, alone + 1)  # not yet gone, no longer counted among ours


START = """
    import os, sys, time, gevlite
    from gevlite import events
    from gevlite.event import Event
    seen = []
    events.subscribers.append(seen.append)
    def blocked():
        return [event for event in seen if isinstance(event, events.EventLoopBlocked)]
    def run_on():
        while not blocked():
            time.sleep(0.001)
"""


@pytest.mark.parametrize("name", ["GEVLITE_MONITOR_THREAD", "GEVENT_MONITOR_THREAD_ENABLE"])
def test_the_environment_starts_it_and_the_report_goes_to_stderr(name, run_script):
    result = run_script(
        START
        + """
    assert gevlite.get_hub().periodic_monitoring_thread is None
    gevlite.sleep(0)
    gevlite.spawn(run_on).join()
    """,
        env={name: "1", "GEVENT_MAX_BLOCKING_TIME": "0.02"},
    )
    assert "run_on() at" in result.stderr or "run_on()" in result.stderr
    assert "has run for 0." in result.stderr and ", in run_on" in result.stderr


def test_it_watches_the_child_of_a_fork(run_script):
    result = run_script(
        START
        + """
    gevlite.config.max_blocking_time = 0.02
    gevlite.config.print_blocking_reports = False
    gevlite.get_hub().start_periodic_monitoring_thread()
    run_on()
    pid = os.fork()
    if not pid:
        seen.clear()
        run_on()
        try:
            Event().wait()
        except gevlite.LoopExit:
            print("reported in the child", flush=True)
        sys.exit()
    print(os.waitpid(pid, 0)[1])
    """,
        flags=["-W", "ignore::DeprecationWarning"],
    )
    assert result.stdout == "reported in the child\n0\n" and not result.stderr


def test_the_process_ends_without_a_word_whatever_it_does(run_script):
    result = run_script("""
        import sys, time, threading, gevlite
        gevlite.config.max_blocking_time = 100
        monitor = gevlite.get_hub().start_periodic_monitoring_thread()
        monitor.add_monitoring_function(lambda hub: sys.stderr.write(""), 0.005)
        gevlite.sleep(0.01)
        # The main thread waits for it natively, at its end: no greenlet that has something to do is blocked.
        threading.Thread(target=time.sleep, args=(0.3,)).start()
        gevlite.sleep(0.001)
        gevlite.config.max_blocking_time = 0.05
    """)
    assert not result.stderr


def test_it_works_in_a_patched_process(run_script):
    result = run_script("""
        from gevlite import monkey
        monkey.patch_all()
        import time, threading, gevlite
        from gevlite import events
        blocked = []
        def told(event):
            if isinstance(event, events.EventLoopBlocked):
                blocked.append(event)
        events.subscribers.append(told)
        gevlite.config.max_blocking_time = 0.02
        gevlite.get_hub().start_periodic_monitoring_thread()
        def compute():
            while not blocked:
                sum(range(1000))
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
        assert threading.active_count() == 1
        assert any("in compute" in line for line in blocked[0].info)
        print(isinstance(blocked[0].greenlet, gevlite.Greenlet))
    """)
    assert result.stdout == "True\n" and "in compute" in result.stderr


@pytest.mark.uninterrupted
def test_progress_is_the_same_only_while_one_runs_on(hub):
    before = hub.progress()
    assert hub.progress() == before
    gevlite.sleep(0)
    gevlite.sleep(0.001)
    assert hub.progress() > before
    other = gevlite.spawn(gevlite.sleep, 0)
    before = hub.progress()
    other.join()
    assert hub.progress() > before
    assert util.GreenletTree.current_tree() is not None
