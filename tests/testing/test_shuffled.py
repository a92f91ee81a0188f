"""`shuffled`: the same seed gives the same run, another seed another order, and promised orders are kept."""

import pytest

import gevlite
from gevlite import _core
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, Semaphore
from gevlite.pool import Group
from gevlite.queue import Queue
from gevlite.server import StreamServer
from gevlite.socket import create_connection, socketpair
from gevlite.testing import shuffled
from gevlite.threading import Lock

SEEDS = range(200)


def runs(seed, switches=False, count=5):
    """The order in which some greenlets begin to run, and continue."""
    order = []
    lock, queue = Semaphore(), Queue(2)

    def work(number):
        order.append(number)
        gevlite.sleep(0)
        with lock:
            order.append(-number)
            queue.put(number)
            queue.get()

    with shuffled(seed, switches=switches):
        gevlite.joinall([gevlite.spawn(work, number) for number in range(1, count + 1)])
    assert sorted(order) == sorted([*range(1, count + 1), *range(-count, 0)])
    return order


def usual():
    return runs(0)


def test_a_seed_gives_the_same_run_again():
    for seed in SEEDS:
        for switches in (False, True):
            assert runs(seed, switches) == runs(seed, switches), seed


def test_seeds_give_different_orders():
    for switches in (False, True):
        assert len({tuple(runs(seed, switches)) for seed in SEEDS}) > 100


def test_seed_0_is_the_usual_order():
    assert usual() == [1, 2, 3, 4, 5, -1, -2, -3, -4, -5]
    with shuffled(0, switches=True):
        pass
    assert runs(0, switches=True) == usual()


def test_a_seed_means_the_same_everywhere():
    """On every version of Python and every backend, a seed means the same: reports contain seeds."""
    for seed, order in RUNS.items():
        assert runs(seed, count=4) == order, seed


RUNS = {
    1: [1, 2, 3, -2, 4, -1, -3, -4],
    2: [3, 1, 2, -3, -1, 4, -4, -2],
    3: [1, 4, -1, 2, 3, -2, -4, -3],
    10: [4, 1, 2, 3, -4, -1, -2, -3],
    2**64 - 1: [4, -4, 1, 3, -3, -1, 2, -2],
}


def test_sockets_are_in_the_order_of_their_numbers():
    """A poll reports several at once; the order of the kernel is not that of the next run."""

    def once(seed, backwards):
        pairs = [socketpair() for _ in range(6)]
        order = []

        def read(number):
            pairs[number][1].recv(1)
            order.append(number)

        readers = [gevlite.spawn(read, number) for number in range(6)]
        gevlite.idle()
        with shuffled(seed):
            for mine, _ in reversed(pairs) if backwards else pairs:
                mine.send(b"x")
            gevlite.joinall(readers)
        for pair in pairs:
            for one in pair:
                one.close()
        return order

    for seed in range(30):
        assert once(seed, False) == once(seed, True)


def test_without_a_seed_it_names_the_one_it_took():
    seeds = set()
    for _ in range(5):
        with pytest.raises(ValueError, match="wrong") as caught, shuffled() as run:
            seeds.add(run.seed)
            raise ValueError("wrong")
        assert caught.value.__notes__ == [f"in the order of gevlite.testing.shuffled(seed={run.seed})"]
    assert len(seeds) > 1 and None not in seeds


def test_as_a_decorator():
    order = []

    @shuffled(seed=2)
    def run():
        gevlite.joinall([gevlite.spawn(order.append, number) for number in range(10)])
        return "done"

    assert run() == run() == "done"
    assert order[:10] == order[10:] != list(range(10))


def test_a_schedule_instead_of_a_seed():
    order = []
    with shuffled(schedule="1:2 2:1"):
        gevlite.joinall([gevlite.spawn(order.append, number) for number in range(4)])
    assert order == [2, 1, 0, 3]


@pytest.mark.parametrize("given", ["1", "x:1", "2:1 1:1", "1:0", "1:-1", "0:1", "1:1,2:1", "1:99999999999"])
def test_a_bad_schedule(given):
    with pytest.raises(ValueError, match="schedule"):
        shuffled(schedule=given)


def test_bad_arguments():
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="seed"):
            shuffled(seed)
    for seed in ("1", 1.5, True):
        with pytest.raises(TypeError, match="seed"):
            shuffled(seed)
    for schedule in (5, b"", b"1:1", ["1:1"]):
        with pytest.raises(TypeError, match="a schedule is a text"):
            shuffled(schedule=schedule)
    with pytest.raises(TypeError, match="written @shuffled\\(\\)"):

        @shuffled
        def test_it():
            pass

    with pytest.raises(TypeError, match="not both"):
        shuffled(1, schedule="1:1")


def test_not_twice():
    with shuffled(1) as outer:
        with pytest.raises(RuntimeError, match="already"), shuffled(2):
            pass
        with pytest.raises(RuntimeError, match="already"), outer:
            pass
        assert _core.get_hub().stats()["parked"] == 0
    with shuffled(2), pytest.raises(RuntimeError, match="already"):
        with shuffled(3):
            pass
    assert usual() == runs(0)


@pytest.mark.uninterrupted  # a slice that ends sends those that are ready to the hub
def test_afterwards_all_is_as_before(hub):
    before = hub.stats()["handoffs"]
    runs(5, switches=True)
    assert hub.stats()["handoffs"] == before
    assert [*map(gevlite.Greenlet.get, [gevlite.spawn(int, n) for n in "123"])] == [1, 2, 3]
    event = Event()
    waiting = [gevlite.spawn(event.wait) for _ in range(3)]
    gevlite.sleep(0)
    event.set()
    gevlite.joinall(waiting)
    assert hub.stats()["handoffs"] > before


# ---------------------------------------------------------------- orders that are kept


def test_locks_and_queues_serve_in_the_order_of_arrival():
    for seed in SEEDS:
        for lock in (Semaphore(), Lock()):
            came, served = [], []

            def work(number, lock=lock, came=came, served=served):
                came.append(number)
                with lock:
                    served.append(number)
                    gevlite.sleep(0)

            with shuffled(seed):
                gevlite.joinall([gevlite.spawn(work, number) for number in range(6)])
            assert served == came, seed
        queue, came, got = Queue(), [], {}

        def take(number, queue=queue, came=came, got=got):
            came.append(number)
            got[number] = queue.get()

        with shuffled(seed):
            takers = [gevlite.spawn(take, number) for number in range(5)]
            gevlite.idle()
            for item in range(5):
                queue.put(item)
            gevlite.joinall(takers)
        assert [got[number] for number in came] == list(range(5)), seed


def test_links_run_in_order_and_before_those_that_wait():
    def once():
        order, over = [], Event()
        job = gevlite.spawn(over.wait)
        for number in range(3):
            job.rawlink(lambda _, number=number: order.append(number))
        job.link(lambda _: order.append("linked"))
        waiting = [gevlite.spawn(lambda: (job.join(), order.append("joined"))) for _ in range(3)]
        gevlite.idle()
        over.set()
        job.join()
        assert order[:4] == [0, 1, 2, "linked"]
        gevlite.joinall(waiting)

    for seed in SEEDS:
        with shuffled(seed, switches=seed % 2 == 1):
            once()


def test_callbacks_run_in_order_and_after_what_was_ready(hub):
    for seed in SEEDS:
        order = []
        with shuffled(seed):
            jobs = [gevlite.spawn(order.append, "before") for _ in range(3)]
            for number in range(3):
                hub.call_soon(order.append, number)
            jobs += [gevlite.spawn(order.append, "after") for _ in range(3)]
            gevlite.joinall(jobs)
        assert order == ["before"] * 3 + [0, 1, 2] + ["after"] * 3, seed


def test_whoever_looks_again_and_again_lets_others_run():
    for seed in range(60):
        for switches in (False, True):
            done, lock = [], BoundedSemaphore()
            lock.acquire()
            with shuffled(seed, switches=switches):
                gevlite.spawn(lambda done=done, lock=lock: (gevlite.sleep(0), done.append(1), lock.release()))
                while not done:
                    gevlite.sleep(0)
                lock.acquire()
                held = Lock()
                held.acquire()
                gevlite.spawn(held.release)
                while not held.acquire(blocking=False):
                    pass


def test_switches_happen_where_a_call_may_block_and_need_not():
    def interleaved(seed, switches):
        lock, order = Semaphore(10), []

        def work(name):
            for _ in range(4):
                with lock:
                    order.append(name)

        with shuffled(seed, switches=switches):
            gevlite.joinall([gevlite.spawn(work, name) for name in "ab"])
        return "".join(order)

    assert {interleaved(seed, False) for seed in SEEDS} == {"aaaabbbb", "bbbbaaaa"}
    assert len({interleaved(seed, True) for seed in SEEDS}) > 20


def test_what_never_blocks_never_switches():
    for seed in range(60):
        event, queue, lock, result = Event(), Queue(), Semaphore(5), AsyncResult()
        ran = []
        with shuffled(seed, switches=True):
            other = gevlite.spawn(ran.append, 1)
            for _ in range(50):
                queue.put(1)
                queue.get_nowait()
                lock.acquire(blocking=False)
                lock.release()
                event.set()
                result.set(1)
                gevlite.spawn_later(60, print).kill()
            assert ran == []
            other.join()


def test_killed_and_timed_out_as_ever():
    for seed in SEEDS:
        with shuffled(seed, switches=True):
            job = gevlite.spawn(gevlite.sleep, 60)
            gevlite.idle()
            job.kill()
            assert isinstance(job.value, gevlite.GreenletExit)
            with gevlite.Timeout(0.0001, False):
                Event().wait()


def test_a_callback_of_the_hub_may_wait(hub):
    for seed in range(60):
        order = []

        def callback(order=order):
            gevlite.sleep(0)
            order.append("callback")

        with shuffled(seed):
            hub.call_soon(callback)
            gevlite.joinall([gevlite.spawn(order.append, n) for n in range(3)])
            gevlite.idle()
        assert set(order) == {"callback", 0, 1, 2}


def end_a_task_group(stays):
    with gevlite.TaskGroup() as tasks:
        for number in range(20):
            tasks.spawn(stays, number)
        gevlite.idle()
        tasks.cancel()


def kill_a_group(stays):
    group = Group()
    for number in range(20):
        group.spawn(stays, number)
    gevlite.idle()
    group.kill()


def stop_a_server(stays):
    numbers = iter(range(20))
    server = StreamServer(("127.0.0.1", 0), lambda sock, address: stays(next(numbers)), spawn=20)
    server.start()
    clients = [create_connection(server.address) for _ in range(20)]
    while len(server._serving) < 20:
        gevlite.sleep(0)
    gevlite.idle()
    server.stop(timeout=0)
    for client in clients:
        client.close()


@pytest.mark.parametrize("end", [end_a_task_group, kill_a_group, stop_a_server])
def test_members_are_ended_in_the_same_order_each_time(end):
    """Not in the order of a set, which depends on addresses."""

    def once():
        ended, kept = [], [object() for _ in range(len(addresses) * 7)]

        def stays(number):
            try:
                Event().wait()
            finally:
                ended.append(number)

        addresses.append(kept)
        end(stays)
        assert len(ended) == 20
        return ended

    addresses = []
    for seed in (0, 1, 2):
        with shuffled(seed):
            first = once()
            assert first == list(range(20)) or seed
        for _ in range(5):
            with shuffled(seed):
                assert once() == first
