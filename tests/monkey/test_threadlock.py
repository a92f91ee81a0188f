"""Lock and RLock of `threading`: the same tests for the original with threads, and for gevlite's with greenlets."""

import _thread
import copy
import pickle
import sys
import threading
import weakref

import greenlet
import pytest

import gevlite
from gevlite import _threadlock


@pytest.fixture(params=["Lock", "RLock"])
def kind(request, lib):
    return (threading if lib.name == "original" else _threadlock).__dict__[request.param]


@pytest.fixture
def lock(kind):
    return kind()


def is_rlock(lock):
    return hasattr(lock, "_release_save")


def test_acquire_and_release(lock, lib):
    assert lock.acquire() is True
    assert lib.spawn(lock.acquire, False).get() is False
    lock.release()
    assert lib.spawn(lambda: (lock.acquire(blocking=False), lock.release())).get() == (True, None)
    with lock as entered:
        assert entered is True
        assert lib.spawn(lock.acquire, False).get() is False
    assert lib.spawn(lambda: (lock.acquire(), lock.release())).get() == (True, None)


def test_release_of_a_free_lock_is_a_runtime_error(lock):
    with pytest.raises(RuntimeError):
        lock.release()
    lock.acquire()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((False, 1), ValueError),
        ((False, 0), ValueError),
        ((True, -2), ValueError),
        ((True, -0.5), ValueError),
        ((True, float("nan")), ValueError),
        ((True, _thread.TIMEOUT_MAX * 2), OverflowError),
        ((True, None), TypeError),
        ((True, "1"), TypeError),
        ((1, 2, 3), TypeError),
    ],
    ids=repr,
)
def test_bad_arguments_leave_the_lock_as_it_was(lock, arguments, error):
    with pytest.raises(error):
        lock.acquire(*arguments)
    assert lock.acquire(False, -1) and not lock.release()
    assert lock.acquire(True, 0) and not lock.release()


def test_time_out(lock, lib):
    lock.acquire()
    assert lib.spawn(lock.acquire, True, 0.001).get() is False
    assert lib.spawn(lambda: lock.acquire(timeout=0)).get() is False
    lock.release()


def test_it_can_be_referred_to_weakly_but_not_copied(lock):
    assert weakref.ref(lock)() is lock
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copying(lock)


def test_repr_tells_the_state(lock):
    assert repr(lock).startswith("<unlocked ") and f"at {id(lock):#x}" in repr(lock)
    lock.acquire()
    assert repr(lock).startswith("<locked ")
    lock.release()


def test_reinit_after_fork_frees_it(lock, lib):
    lock.acquire()
    lock._at_fork_reinit()
    assert lib.spawn(lambda: (lock.acquire(False), lock.release())).get() == (True, None)


def test_what_an_rlock_is_made_with_is_ignored_or_refused(lib):
    """Ignored up to Python 3.14, refused from 3.15 on; a subclass may take what it likes."""
    cls = _thread.RLock if lib.name == "original" else _threadlock.RLock
    for arguments, keywords in (((1,), {}), ((), {"a": 1})):
        if sys.version_info < (3, 15):
            assert not cls(*arguments, **keywords)._is_owned()
        else:
            with pytest.raises(TypeError):
                cls(*arguments, **keywords)

    class Named(cls):
        def __init__(self, name):
            self.name = name

    lock = Named("mine")
    assert lock.name == "mine" and lock.acquire() and lock.release() is None


def test_a_lock_may_be_released_by_another(lib):
    lock = (threading if lib.name == "original" else _threadlock).Lock()
    lock.acquire()
    assert lock.locked() and lock.locked_lock()
    lib.spawn(lock.release).get()
    assert not lock.locked()
    assert lock.acquire_lock() and lock.release_lock() is None


def test_an_rlock_belongs_to_its_owner(lib):
    lock = (threading if lib.name == "original" else _threadlock).RLock()
    assert lock.acquire() and lock.acquire(True, 1) and lock.acquire(False)
    with pytest.raises(RuntimeError):
        lib.spawn(lock.release).get()
    for _ in range(3):
        assert lib.spawn(lock.acquire, False).get() is False
        lock.release()
    assert lib.spawn(lambda: (lock.acquire(False), lock.release())).get() == (True, None)


def test_what_a_condition_needs_of_an_rlock(lib):
    lock = (threading if lib.name == "original" else _threadlock).RLock()
    assert not lock._is_owned()
    with pytest.raises(RuntimeError):
        lock._release_save()
    lock.acquire()
    lock.acquire()
    assert lock._is_owned() and not lib.spawn(lock._is_owned).get()
    if hasattr(threading.RLock(), "_recursion_count"):
        assert lock._recursion_count() == 2
    state = lock._release_save()
    assert not lock._is_owned()
    assert lib.spawn(lambda: (lock.acquire(False), lock.release())).get() == (True, None)
    lock._acquire_restore(state)
    assert lock._is_owned()
    lock.release()
    lock.release()


# ---------------------------------------------------------------- only ours


@pytest.fixture(params=[_threadlock.Lock, _threadlock.RLock])
def ours(request):
    return request.param()


def test_it_is_handed_to_who_has_waited_longest_not_to_who_comes_back_first(ours, start, settle):
    order = []

    @gevlite.uninterrupted  # else who has given it back may come back later than the others
    def work(name):
        for n in range(3):
            with ours:
                order.append(f"{name}{n}")
                gevlite.sleep(0)

    ours.acquire()
    workers = []
    for name in "abc":
        workers.append(start(work, name))
        gevlite.idle()
    ours.release()
    for worker in workers:
        worker.get()
    assert order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_kill_while_waiting_leaves_the_place_to_the_next(ours):
    ours.acquire()
    first = gevlite.spawn(ours.acquire)
    second = gevlite.spawn(lambda: (ours.acquire(), ours.release()))
    gevlite.sleep(0)
    first.kill()
    ours.release()
    assert second.get(timeout=5) == (True, None)
    assert ours.acquire(False)


def test_kill_of_who_was_just_handed_it_does_not_lose_it(ours):
    ours.acquire()

    def work():
        with ours:
            gevlite.sleep(10)

    worker = gevlite.spawn(work)
    gevlite.sleep(0)
    ours.release()  # it is the worker's now, which has not run yet
    worker.kill()
    assert ours.acquire(False)


def test_throw_by_hand_into_who_was_just_handed_it_does_not_lose_it():
    lock = _threadlock.Lock()
    lock.acquire()
    worker = gevlite.spawn(lock.acquire)
    gevlite.sleep(0)

    def callback():
        lock.release()  # it is the worker's now, which has not run yet
        greenlet.greenlet.throw(worker, gevlite.GreenletExit)

    gevlite.get_hub().call_soon(callback)
    worker.join()
    assert isinstance(worker.value, gevlite.GreenletExit)
    assert lock.acquire(False)


def test_release_that_races_with_the_time_out(ours):
    """Either the waiter has it or the lock is free, however the two meet."""
    for _ in range(200):
        ours.acquire()
        waiter = gevlite.spawn(lambda: ours.acquire(timeout=0.0005) and (ours.release(), True)[1])
        gevlite.sleep(0.0005)
        ours.release()
        assert waiter.get() in (True, False)
        assert ours.acquire(False)
        ours.release()


def test_between_os_threads(fast_thread_switches):
    for lock in (_threadlock.Lock(), _threadlock.RLock()):
        total = 0

        def work(lock=lock):
            nonlocal total
            for n in range(300):
                with lock:
                    before = total
                    if n % 32 == 0:
                        gevlite.sleep(0)
                    total = before + 1

        def thread_body():
            gevlite.joinall([gevlite.spawn(work) for _ in range(2)], raise_error=True)
            gevlite.get_hub().destroy()

        threads = [threading.Thread(target=thread_body) for _ in range(3)]
        for thread in threads:
            thread.start()
        gevlite.joinall([gevlite.spawn(work) for _ in range(2)], raise_error=True)
        for thread in threads:
            while thread.is_alive():
                gevlite.sleep(0.001)
        assert total == 300 * 8


def test_a_free_lock_makes_no_hub():
    """Threads that only log, for example, must not each get a loop with its descriptors."""
    from gevlite._core import get_hub_if_exists

    lock = _threadlock.RLock()
    seen = []

    def body():
        with lock:
            seen.append(_threadlock.get_ident() == _thread.get_ident())
        seen.append(get_hub_if_exists())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [True, None]


def test_get_ident():
    assert _threadlock.get_ident() == _thread.get_ident()
    other = gevlite.spawn(_threadlock.get_ident)
    assert other.get() == _threadlock.get_ident(other) != _thread.get_ident()
    assert _threadlock.get_ident(gevlite.get_hub().parent) == _thread.get_ident()
    with pytest.raises(TypeError):
        _threadlock.get_ident(1)


def test_errors_of_threads_go_to_the_unraisable_hook(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    try:
        raise ValueError("broken")
    except ValueError as exc:
        _threadlock.report_thread_error(exc, test_get_ident)
    [args] = reported
    assert args.exc_value.args == ("broken",) and args.exc_traceback is not None
    assert "thread started by" in args.err_msg
