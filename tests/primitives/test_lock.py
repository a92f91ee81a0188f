"""Semaphore, BoundedSemaphore, DummySemaphore and RLock: fair, and no token is ever lost or made up."""

import gc
import threading
import time
import weakref

import pytest

import gevlite
from gevlite.event import Event
from gevlite.lock import BoundedSemaphore, DummySemaphore, RLock, Semaphore

SEMAPHORES = [Semaphore, BoundedSemaphore]
LOCKS = [*SEMAPHORES, RLock]


def held(cls):
    """A lock held by another greenlet, and the function that releases it."""
    lock = cls()
    release = gevlite.event.Event()

    def hold():
        lock.acquire()
        release.wait()
        lock.release()

    g = gevlite.spawn(hold)
    gevlite.idle()
    assert lock.locked()

    def let_go():
        release.set()
        g.get()

    return lock, let_go


def is_free(lock):
    """It is not taken, and there are no waiters."""
    if isinstance(lock, RLock):
        assert lock.acquire(blocking=False)
        lock.release()
        return not lock.locked()
    return lock.counter == 1 and lock.linkcount() == 0


# ---------------------------------------------------------------- counting


def test_a_semaphore_counts():
    s = Semaphore(2)
    assert s.ready() and not s.locked()
    assert s.acquire() is True and s.counter == 1
    assert s.acquire() is True and s.counter == 0
    assert s.locked() and not s.ready()
    assert s.acquire(blocking=False) is False
    assert s.release() == 1


def test_a_negative_start_is_an_error():
    for cls in SEMAPHORES:
        with pytest.raises(ValueError):
            cls(-1)


def test_a_bounded_semaphore_refuses_one_release_too_many():
    s = BoundedSemaphore(1)
    with pytest.raises(ValueError):
        s.release()
    s.acquire()
    s.release()
    with pytest.raises(ValueError):
        s.release()
    assert s.counter == 1


def test_a_dummy_semaphore_never_blocks():
    s, calls = DummySemaphore(), []
    for _ in range(3):
        assert s.acquire() is True
    s.release()
    with s:
        assert s.wait() == 1 and s.ready() and not s.locked()
    s.rawlink(calls.append)
    gevlite.idle()
    assert calls == [s]
    s.unlink(calls.append)


def test_an_rlock_may_be_taken_again_by_its_owner_only():
    lock = RLock()
    assert lock.acquire() and lock.acquire() and lock.locked()
    g = gevlite.spawn(lock.acquire, blocking=False)
    assert g.get() is False
    lock.release()
    assert lock.locked()
    lock.release()
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()


def test_an_rlock_cannot_be_released_by_another_greenlet(errors):
    lock = RLock()
    lock.acquire()
    with pytest.raises(RuntimeError):
        gevlite.spawn(lock.release).get()
    lock.release()


def test_an_rlock_serves_a_threading_condition():
    condition, notified = threading.Condition(RLock()), Event()
    seen = []

    def wait():
        with condition, condition:
            # Condition waits on a thread's lock of its own: only the handing over of gevlite's lock is tested here.
            state = condition._release_save()
            notified.wait()
            condition._acquire_restore(state)
            seen.append(condition._is_owned())

    g = gevlite.spawn(wait)
    gevlite.idle()
    with condition:
        notified.set()
        gevlite.idle()
        assert not seen
    g.get()
    assert seen == [True]


@pytest.mark.parametrize("cls", LOCKS)
def test_with_gives_it_back_after_an_error(cls):
    lock = cls()
    with pytest.raises(KeyError), lock:
        assert lock.locked()
        raise KeyError
    assert is_free(lock)


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize("timeout", [0, 0.001])
@pytest.mark.parametrize("cls", LOCKS)
def test_acquire_that_times_out_returns_false_and_leaves_nothing(cls, timeout):
    lock, let_go = held(cls)
    for _ in range(3):
        assert lock.acquire(timeout=timeout) is False
    let_go()
    assert is_free(lock)


@pytest.mark.parametrize("cls", LOCKS)
def test_a_waiter_gets_it_when_it_is_released(cls):
    lock, let_go = held(cls)
    got = []

    def take():
        got.append(lock.acquire())
        lock.release()

    g = gevlite.spawn(take)
    gevlite.idle()
    let_go()
    g.get()
    assert got == [True] and is_free(lock)


@pytest.mark.parametrize("cls", LOCKS)
def test_waiters_get_it_in_the_order_in_which_they_came(cls):
    lock, let_go = held(cls)
    order = []

    @gevlite.uninterrupted  # otherwise a later one may be the first to wait
    def take(n):
        with lock:
            order.append(n)
            gevlite.idle()

    greenlets = [gevlite.spawn(take, n) for n in range(10)]
    gevlite.idle()
    let_go()
    gevlite.joinall(greenlets)
    assert order == list(range(10)) and is_free(lock)


@pytest.mark.parametrize("cls", LOCKS)
def test_a_releaser_that_acquires_again_goes_behind_those_who_wait(cls):
    lock, order = cls(), []

    @gevlite.uninterrupted  # otherwise a later one may be the first to wait
    def again_and_again(name):
        for _ in range(3):
            with lock:
                order.append(name)
                gevlite.idle()

    gevlite.joinall([gevlite.spawn(again_and_again, n) for n in "abc"])
    assert "".join(order) == "abcabcabc"


@pytest.mark.parametrize("cls", LOCKS)
def test_a_newcomer_does_not_overtake(cls):
    lock, let_go = held(cls)
    g = gevlite.spawn(lock.acquire)
    gevlite.idle()
    let_go_order = []

    def newcomer():
        let_go_order.append(lock.acquire(blocking=False))

    let_go()
    gevlite.spawn(newcomer).get()
    assert let_go_order == [False]
    g.get()


@pytest.mark.parametrize("cls", LOCKS)
def test_a_killed_waiter_never_swallows_the_token(cls):
    lock, let_go = held(cls)
    killed, other = gevlite.spawn(lock.acquire), gevlite.spawn(lock.acquire)
    gevlite.idle()
    killed.kill(block=False)  # delivered, not yet run
    let_go()
    assert other.get() is True
    killed.join()
    assert isinstance(killed.value, gevlite.GreenletExit)


@pytest.mark.parametrize("cls", LOCKS)
def test_a_waiter_killed_before_the_release_leaves_it_free(cls):
    lock, let_go = held(cls)
    g = gevlite.spawn(lock.acquire)
    gevlite.idle()
    g.kill()
    let_go()
    assert is_free(lock)


@pytest.mark.parametrize("cls", LOCKS)
def test_kill_after_the_token_was_handed_over_reaches_it_at_the_next_wait(cls, hub):
    """The holder's own `finally` then gives the token back."""
    lock, steps = cls(), []
    lock.acquire()

    def take():
        with lock:
            steps.append("has it")
            gevlite.sleep(100)

    g = gevlite.spawn(take)
    gevlite.idle()
    lock.release()
    g.kill()
    assert steps == ["has it"] and is_free(lock)


@pytest.mark.parametrize("cls", SEMAPHORES)
def test_throw_by_hand_after_the_token_was_handed_over_gives_it_back(cls, hub):
    lock = cls()
    lock.acquire()
    g = gevlite.spawn(lock.acquire)
    gevlite.idle()

    def release_and_throw():
        lock.release()
        g.throw(gevlite.GreenletExit)

    hub.call_soon(release_and_throw)
    g.join()
    assert is_free(lock)


@pytest.mark.parametrize("wake_first", [True, False])
@pytest.mark.parametrize("cls", SEMAPHORES)
def test_a_release_and_a_timeout_in_the_same_round_lose_no_token(cls, wake_first, hub):
    s = cls(1)
    s.acquire()
    got = []

    def take():
        got.append(s.acquire(timeout=0.002))

    if wake_first:
        hub.call_later(0.002, s.release)
    g = gevlite.spawn(take)
    gevlite.idle()
    if not wake_first:
        hub.call_later(0.002, s.release)
    deadline = time.monotonic() + 0.004
    while time.monotonic() < deadline:
        pass
    g.join()
    gevlite.sleep(0.001)
    assert s.counter == (0 if got == [True] else 1)
    assert s.linkcount() == 0


@pytest.mark.parametrize("cls", SEMAPHORES)
def test_wait_tells_that_it_is_free_and_takes_nothing(cls):
    s = cls(1)
    assert s.wait() == 1
    s.acquire()
    assert s.wait(timeout=0.001) == 0
    g = gevlite.spawn(s.wait)
    gevlite.idle()
    assert s.linkcount() == 1
    s.release()
    assert g.get() == 1 and s.counter == 1 and s.linkcount() == 0


@pytest.mark.parametrize("cls", SEMAPHORES)
def test_killing_one_in_wait_leaves_no_link(cls):
    s = cls(1)
    s.acquire()
    g = gevlite.spawn(s.wait)
    gevlite.idle()
    g.kill()
    assert s.linkcount() == 0
    s.release()


@pytest.mark.parametrize("cls", SEMAPHORES)
def test_a_link_is_called_when_it_becomes_free(cls):
    s, calls = cls(1), []
    s.acquire()
    s.rawlink(calls.append)
    gevlite.idle()
    assert calls == []
    s.release()
    gevlite.idle()
    assert calls == [s] and s.linkcount() == 0


@pytest.mark.parametrize("cls", LOCKS)
def test_a_bad_timeout_is_an_error_and_leaves_nothing(cls):
    lock, let_go = held(cls)
    with pytest.raises(TypeError):
        lock.acquire(timeout="soon")
    let_go()
    assert is_free(lock)


@pytest.mark.parametrize("cls", SEMAPHORES)
def test_acquiring_in_a_hub_callback_waits_its_turn(cls, hub, settle):
    s, taken = cls(1), []
    s.acquire()
    hub.call_soon(lambda: taken.append(s.acquire()))
    gevlite.idle()
    assert not taken and s.linkcount() == 1
    s.release()
    assert settle(lambda: taken) and s.linkcount() == 0
    s.release()
    assert s.counter == 1


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("cls", SEMAPHORES)
def test_a_waiter_gets_the_token_from_another_thread(cls):
    s = cls(1)
    s.acquire()
    g = gevlite.spawn(s.acquire)
    gevlite.idle()
    thread = threading.Thread(target=s.release)
    thread.start()
    assert g.get(timeout=30) is True
    thread.join()
    assert s.counter == 0 and s.linkcount() == 0


@pytest.mark.parametrize("cls", LOCKS)
def test_threads_and_greenlets_exclude_each_other(cls, fast_thread_switches):
    lock, state = cls(), {"inside": 0, "entered": 0, "most": 0}

    def work():
        for _ in range(100):
            with lock:
                state["inside"] += 1
                state["entered"] += 1
                state["most"] = max(state["most"], state["inside"])
                gevlite.idle()
                state["inside"] -= 1

    def thread():
        gevlite.joinall([gevlite.spawn(work) for _ in range(3)], raise_error=True)

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert state == {"inside": 0, "entered": 900, "most": 1}
    assert is_free(lock)


@pytest.mark.parametrize("cls", SEMAPHORES)
def test_timeouts_kills_and_releases_of_several_threads_keep_the_count(cls, fast_thread_switches):
    s = cls(2)

    def work(n):
        for i in range(60):
            if s.acquire(timeout=0.0005 * (i % 3)):
                gevlite.sleep(0.0003 * (n % 2))
                s.release()

    def thread():
        greenlets = [gevlite.spawn(work, n) for n in range(6)]
        gevlite.joinall(greenlets, raise_error=True)

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert s.counter == 2 and s.linkcount() == 0


# ---------------------------------------------------------------- fork, memory


@pytest.mark.parametrize("cls", ["Semaphore", "BoundedSemaphore", "RLock"])
def test_works_on_after_fork(cls, run_script):
    run_script(f"""
        import os, gevlite
        from gevlite.lock import {cls}
        lock = {cls}()
        def use():
            with lock:
                gevlite.sleep(0.001)
        lock.acquire()
        g = gevlite.spawn(use)
        gevlite.idle()
        pid = os.fork()
        lock.release()
        g.get()
        use()
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)


@pytest.mark.parametrize("cls", LOCKS)
def test_it_is_freed_with_its_last_reference(cls):
    lock = cls()
    with lock:
        pass
    ref = weakref.ref(lock)
    del lock
    assert ref() is None


@pytest.mark.parametrize("cls", LOCKS)
def test_many_waits_leave_no_objects(cls):
    def work(count):
        lock = cls()

        def use():
            with lock:
                gevlite.idle()

        for _ in range(count):
            gevlite.joinall([gevlite.spawn(use), gevlite.spawn(use)])

    work(50)
    gc.collect()
    before = len(gc.get_objects())
    work(3000)
    gc.collect()
    assert len(gc.get_objects()) - before < 50
