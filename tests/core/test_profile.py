"""gevlite.profile: cProfile with a call stack for each greenlet."""

import functools
import pstats
import subprocess
import sys
import threading
import time

import greenlet
import pytest

import gevlite
from gevlite.event import Event
from gevlite.profile import Profile


def burn(seconds):
    end = time.thread_time() + seconds
    with gevlite.uninterrupted():
        while time.thread_time() < end:
            pass


def inner():
    burn(0.02)
    gevlite.sleep(0.001)
    burn(0.02)


def heavy():
    for _ in range(4):
        gevlite.sleep(0.001)
        inner()


def light():
    for _ in range(8):
        gevlite.sleep(0.001)
        int("5")


def fails(n):
    if n:
        fails(n - 1)
    gevlite.sleep(0)
    raise KeyError


def profiled(function, *args, **options):
    """`{name: (primitive calls, calls, own, total, {name of a caller: ...})}`."""
    profile = Profile(**options)
    with profile:
        function(*args)
    return named(profile)


def named(profile):
    return {
        key[2]: (*values, {caller[2]: numbers for caller, numbers in callers.items()})
        for key, (*values, callers) in pstats.Stats(profile).stats.items()
    }


def jobs(*functions):
    gevlite.joinall([gevlite.spawn(function) for function in functions], raise_error=True)


def test_greenlets_that_take_turns_get_what_they_called_themselves():
    stats = profiled(jobs, heavy, light, light)
    assert stats["heavy"][:2] == (1, 1) and stats["light"][:2] == (2, 2)
    assert stats["inner"][:2] == (4, 4) and set(stats["inner"][4]) == {"heavy"}
    assert stats["burn"][:2] == (8, 8) and set(stats["burn"][4]) == {"inner"}
    assert stats["heavy"][3] >= stats["inner"][3] >= stats["burn"][3] >= 0.16
    assert stats["light"][3] < stats["inner"][3]
    assert not {"switched", "hub_frame"} & set(stats)


def test_waiting_is_no_ones_time():
    def waits():
        gevlite.sleep(0.3)

    def works():
        burn(0.2)

    stats = profiled(jobs, waits, works)
    assert stats["waits"][3] < 0.1 < stats["works"][3]


def test_recursive_calls_and_errors_are_counted():
    def work():
        with pytest.raises(KeyError):
            fails(3)

    stats = profiled(jobs, work, work)
    assert stats["fails"][:2] == (2, 8)
    assert stats["fails"][4]["fails"][:2] == (6, 2) and stats["fails"][4]["work"][:2] == (2, 2)
    assert stats["work"][3] >= stats["fails"][3] >= stats["fails"][2] > 0


def test_functions_in_c_are_shown_unless_they_are_not_wanted():
    stats = profiled(sum, [1, 2])
    assert stats["<built-in method builtins.sum>"][:2] == (1, 1)
    stats = profiled([].append, 1)
    assert stats["<method 'append' of 'list' objects>"][:2] == (1, 1)
    assert not any(name.startswith("<built-in") for name in profiled(sum, [1, 2], builtins=False))


def test_what_has_not_returned_counts_too():
    event = Event()

    def waits():
        burn(0.01)
        event.wait()

    def main():
        made.append(gevlite.spawn(waits))
        gevlite.idle()

    made = []
    stats = profiled(main)
    assert stats["waits"][:2] == (1, 1) and stats["waits"][3] >= 0.01
    event.set()
    made[0].join()


def test_what_began_before_is_passed_over():
    event = Event()

    def waits():
        event.wait()
        int("1")

    job = gevlite.spawn(waits)
    gevlite.idle()
    profile = Profile()
    profile.enable()
    event.set()
    job.join()
    profile.disable()
    assert "waits" not in named(profile)


def test_the_workers_of_the_thread_pool_are_profiled():
    pool = gevlite.threadpool.ThreadPool(1)
    try:
        if sys.version_info >= (3, 12):
            pool.apply(int)  # its thread begins before
        stats = profiled(pool.apply, burn, (0.01,))
        assert stats["burn"][:2] == (1, 1)
        assert "burn" not in profiled(pool.apply, burn, (0.01,), threads=False)
    finally:
        pool.kill()


def test_it_may_be_used_like_cprofile(tmp_path):
    profile = Profile()
    assert profile.runcall(int, "5") == 5
    profile.run("sum([1])")
    profile.enable()
    with pytest.raises(RuntimeError):
        profile.enable()
    profile.disable()
    profile.disable()
    assert {"<built-in method builtins.sum>"} <= set(named(profile))
    profile.dump_stats(tmp_path / "out")
    assert pstats.Stats(str(tmp_path / "out")).total_calls >= 1
    profile.clear()
    profile.create_stats()
    assert profile.stats == {}


def test_it_leaves_nothing_behind():
    seen = []

    def trace(event, args):
        seen.append(event)

    before = greenlet.settrace(trace)
    try:
        profiled(jobs, light)
        assert greenlet.gettrace() is trace and "switch" in seen
    finally:
        greenlet.settrace(before)
    assert sys.getprofile() is None and threading.getprofile() is None


def test_threads_of_a_patched_program_are_profiled(run_script):
    run_script("""
        from gevlite import monkey; monkey.patch_all()
        import pstats, threading, time, gevlite
        from gevlite.profile import Profile
        def inner(): pass
        def work():
            time.sleep(0.001)
            inner()
        def after(): inner()
        with Profile() as profile:
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            after()
        found = {key[2]: values for key, values in pstats.Stats(profile).stats.items()}
        assert found["work"][:2] == (3, 3) and found["after"][:2] == (1, 1) and found["inner"][:2] == (4, 4), found
    """)


def test_the_command(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, gevlite\ndef work(): gevlite.sleep(0)\ngevlite.spawn(work).join()\nprint(sys.argv)\n"
    )
    run = functools.partial(subprocess.run, capture_output=True, text=True, cwd=tmp_path, timeout=50)
    command = [sys.executable, "-m", "gevlite.profile"]
    done = run([*command, "-s", "name", "program.py", "-o", "x"])
    assert done.returncode == 0 and "['program.py', '-o', 'x']" in done.stdout and "2(work)" in done.stdout, done.stderr
    done = run([*command, "-o", "out", "-m", "program"])
    assert done.returncode == 0 and "work" not in done.stdout
    assert any(key[2] == "work" for key in pstats.Stats(str(tmp_path / "out")).stats)
    for bad in ([], ["-s"], ["-s", "nonsense", "x"], ["-m"], ["nowhere.py"]):
        done = run([*command, *bad])
        assert done.returncode == 2 and "gevlite.profile: error: " in done.stderr, bad
    assert run([*command, "--help"]).stdout.startswith("usage: ")
