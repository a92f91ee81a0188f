"""multiprocessing under patch_all(): processes, pipes, queues, pools, locks and managers, by each way to start them."""

import textwrap

import pytest

PRELUDE = """
from gevlite import monkey
monkey.patch_all()
import multiprocessing, sys
import gevlite

def square(x):
    return x * x

def answer(connection, queue):
    connection.send([queue.get() for _ in range(3)])
    connection.close()

def hold(lock, connection):
    with lock:
        connection.send("held")
        connection.recv()

def main(context):
"""

CASES = {
    "process, pipe and queue": (
        """
        ours, theirs = context.Pipe()
        queue = context.Queue()
        process = context.Process(target=answer, args=(theirs, queue))
        process.start()
        for number in range(3):
            queue.put(number)
        print(ours.recv())
        process.join(30)
        print(process.exitcode)
        """,
        ["[0, 1, 2]", "0"],
    ),
    "pool, which also ends": (
        """
        with context.Pool(2) as pool:
            print(pool.map(square, range(5)))
            print(pool.apply_async(square, (7,)).get(30))
        print("ended")
        """,
        ["[0, 1, 4, 9, 16]", "49", "ended"],
    ),
    "ProcessPoolExecutor": (
        """
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            print(list(executor.map(square, range(4))))
        """,
        ["[0, 1, 4, 9]"],
    ),
    "manager": (
        """
        with context.Manager() as manager:
            shared = manager.dict()
            shared["x"] = 1
            print(dict(shared))
        """,
        ["{'x': 1}"],
    ),
    "an RLock keeps greenlets out of each other's way": (
        """
        lock = context.RLock()
        inside, most = [], []
        def work(n):
            with lock, lock:
                inside.append(n)
                most.append(len(inside))
                gevlite.sleep(0.01)
                inside.remove(n)
        gevlite.joinall([gevlite.spawn(work, n) for n in range(3)], raise_error=True)
        print(most)
        with lock:
            def other():
                taken = lock.acquire(False), lock.acquire(timeout=0.01)
                try:
                    lock.release()
                except AssertionError as exc:
                    return *taken, str(exc)
            print(gevlite.spawn(other).get(), lock._semlock._is_mine(), lock._semlock._count())
            waiting = gevlite.spawn(lock.acquire)
            gevlite.sleep(0.01)
            print("SomeOtherThread" in gevlite.spawn(repr, lock).get(), waiting.ready())
        print(waiting.get(timeout=30), lock.acquire(False))
        """,
        [
            "[1, 1, 1]",
            "(False, False, 'attempt to release recursive lock not owned by thread') True 1",
            "True False",
            "True False",
        ],
    ),
    "a Lock says whose it is": (
        """
        lock = context.Lock()
        print(repr(lock), gevlite.spawn(lock.acquire).get(), repr(lock), lock._semlock._is_mine())
        lock.release()
        print(repr(lock), lock.acquire(), repr(lock), gevlite.spawn(repr, lock).get())
        gevlite.spawn(lock.release).join()
        print(lock)
        """,
        [
            "<Lock(owner=None)> True <Lock(owner=SomeOtherThread)> False",
            "<Lock(owner=None)> True <Lock(owner=MainProcess)> <Lock(owner=SomeOtherThread)>",
            "<Lock(owner=None)>",
        ],
    ),
    "a condition": (
        """
        condition = context.Condition()
        told = []
        def wait():
            with condition, condition:
                begun.append(1)
                told.append(condition.wait(30))
        begun = []
        waiting = [gevlite.spawn(wait) for _ in range(3)]
        while len(begun) < 3:           # the last one has the lock until it waits
            gevlite.sleep(0.001)
        with condition:
            condition.notify_all()
        gevlite.joinall(waiting, raise_error=True)
        print(told)
        def notify():
            try:
                condition.notify()
            except AssertionError as exc:
                return exc
        with condition:
            print(gevlite.spawn(notify).get())
        """,
        ["[True, True, True]", "lock is not owned"],
    ),
    "a lock that another process holds stops only those that wait for it": (
        """
        lock = context.Lock()
        ours, theirs = context.Pipe()
        process = context.Process(target=hold, args=(lock, theirs))
        process.start()
        print(ours.recv(), lock.acquire(False), lock.acquire(timeout=0.01))
        waiting = gevlite.spawn(lock.acquire)
        gevlite.sleep(0.01)
        print("others run", waiting.ready())
        ours.send("enough")
        print(waiting.get(timeout=30))
        lock.release()
        process.join(30)
        """,
        ["held False False", "others run False", "True"],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(script, method, case):
    body, expected = CASES[case]
    main = textwrap.indent(textwrap.dedent(body), "    ")
    start = f"if __name__ == '__main__':\n    main(multiprocessing.get_context({method!r}))\n"
    assert script.run(PRELUDE + main + start, patch="") == expected


def test_what_was_imported_before_patching_cooperates(script):
    """As in each process that multiprocessing spawns, where it is imported before the program can patch."""
    lines = script.run(
        """
        import multiprocessing.connection, multiprocessing.reduction, socket
        from gevlite import monkey
        monkey.patch_all()
        import gevlite

        here, there = multiprocessing.Pipe()
        reader = gevlite.spawn(here.recv)
        gevlite.sleep(0)
        there.send("while another greenlet waits")
        print(reader.get(timeout=10))
        with socket.socket() as sock:
            assert multiprocessing.reduction.ForkingPickler.dumps(sock)
        monkey.unpatch_all()
        there.send("and after it")
        print(here.recv())
        """,
        patch="",
    )
    assert lines == ["while another greenlet waits", "and after it"]
