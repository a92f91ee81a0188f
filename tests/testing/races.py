"""Ten small programs with a fault that the usual order does not show, each with its corrected twin.

Each function is a program: it creates everything that it uses, and asserts at the end what must hold. `broken` chooses
between the two.

    python tests/testing/races.py            # how many seeds each takes
    python tests/testing/races.py 10000      # and the twins under so many
"""

import sys
import time

import gevlite
from gevlite.event import AsyncResult, Event
from gevlite.lock import Semaphore
from gevlite.queue import Queue
from gevlite.socket import socketpair
from gevlite.testing import ScheduleFailed, explore


def together(*functions):
    """Run them at the same time; raise the error of the first that fails."""
    gevlite.joinall([gevlite.spawn(function) for function in functions], raise_error=True)


def later(steps, function):
    """`function`, after giving way so often: in the usual order the others are done by then."""

    def run():
        for _ in range(steps):
            gevlite.sleep(0)
        return function()

    return run


def double_checked(broken):
    """Made once, under a lock. Code that looks without the lock may see it before it is ready."""
    lock = Semaphore()
    place = []

    def get():
        if not place:
            with lock:
                if not place:
                    made = {}
                    if broken:
                        place.append(made)
                    gevlite.sleep(0)  # connects
                    made["connected"] = True
                    if not broken:
                        place.append(made)
        return place[0]

    def use():
        assert get()["connected"]

    together(use, later(3, use))


def two_locks(broken):
    """Two transfers take the same two locks, one of them in the other order."""
    locks = {"ann": Semaphore(), "bob": Semaphore()}
    money = {"ann": 10, "bob": 10}

    def transfer(source, target, amount):
        order = (source, target) if broken else sorted((source, target))
        with locks[order[0]], locks[order[1]]:
            money[source] -= amount
            money[target] += amount

    together(lambda: transfer("ann", "bob", 3), lambda: transfer("bob", "ann", 5))
    assert money == {"ann": 12, "bob": 8}


def lost_notification(broken):
    """Clears the event after it has looked for items: an item that was put in between is never noticed."""
    items, news, log = [], Event(), Semaphore()
    taken = []

    def consumer():
        while len(taken) < 2:
            if broken:
                if not items:
                    with log:  # writes "I wait" to a log
                        news.clear()
                    news.wait()
            else:
                news.clear()
                if not items:
                    with log:
                        pass
                    news.wait()
            while items:
                taken.append(items.pop(0))

    def producer():
        for item in "ab":
            items.append(item)
            news.set()
            gevlite.sleep(0)

    together(consumer, producer)
    assert taken == ["a", "b"]


def stampede(broken):
    """Two requests miss the cache at the same time, and both load."""
    cache, loads = {}, []

    def load(key):
        loads.append(key)
        gevlite.sleep(0)  # asks the database
        return key.upper()

    def get(key):
        if key not in cache:
            if broken:
                cache[key] = load(key)
            else:
                cache[key] = AsyncResult()
                cache[key].set(load(key))
        found = cache[key]
        return found.get() if isinstance(found, AsyncResult) else found

    def request():
        assert get("page") == "PAGE"

    together(request, later(2, request))
    assert loads == ["page"]


def over_a_socket(broken):
    """Reads a balance from a server and writes the new one: another greenlet may have written meanwhile."""
    stored = {"balance": 100}

    def serve(connection):
        with connection:
            while True:
                asked = connection.recv(10)
                if not asked:
                    return
                if asked.startswith(b"add"):
                    stored["balance"] += int(asked[3:])
                elif asked != b"get":
                    stored["balance"] = int(asked)
                connection.sendall(b"%d" % stored["balance"])

    def client(amount, hellos):
        mine, theirs = socketpair()
        server = gevlite.spawn(serve, theirs)

        def ask(what):
            mine.sendall(what)
            return int(mine.recv(10))

        with mine:
            for _ in range(hellos):
                ask(b"get")
            if broken:
                balance = ask(b"get")
                ask(b"%d" % (balance + amount))
            else:
                ask(b"add%d" % amount)
        server.join()

    together(lambda: client(10, 0), lambda: client(20, 3))
    assert stored["balance"] == 130


def aba(broken):
    """Takes the first of a list if it is still the first: but it may have been away, and its successor is another."""

    class Node:
        def __init__(self, name, following):
            self.name, self.following = name, following

    class Stack:
        head, version = None, 0

    stack = Stack()
    log = Semaphore()
    for name in "cba":
        stack.head = Node(name, stack.head)
    taken = []

    def pop():
        while True:
            first, version = stack.head, stack.version
            following = first.following
            with log:
                pass
            if stack.head is first and (broken or stack.version == version):
                stack.head = following
                stack.version += 1
                return first

    def push(node):
        node.following = stack.head
        stack.head = node
        stack.version += 1

    def one():
        taken.append(pop().name)

    def three():
        first, second = pop(), pop()
        taken.append(second.name)
        push(first)

    together(one, three)
    left = []
    while stack.head is not None:
        left.append(stack.head.name)
        stack.head = stack.head.following
    assert sorted(taken + left) == ["a", "b", "c"]


class Condition:
    """Wakes those that wait, one or all, as `threading.Condition` does."""

    def __init__(self, lock):
        self.lock, self.waiting = lock, []

    def wait(self):
        event = Event()
        self.waiting.append(event)
        self.lock.release()
        event.wait()
        self.lock.acquire()

    def notify(self, count=1):
        for event in self.waiting[:count]:
            self.waiting.remove(event)
            event.set()


def second_waiter(broken):
    """A buffer for one item, with one condition for both sides: the one that is woken may be on the wrong side."""
    lock = Semaphore()
    changed = Condition(lock)
    buffer, taken = [], []

    def tell():
        changed.notify(1 if broken else len(changed.waiting))

    def put(item):
        with lock:
            while buffer:
                changed.wait()
            buffer.append(item)
            tell()

    def get():
        with lock:
            while not buffer:
                changed.wait()
            taken.append(buffer.pop())
            tell()

    def produce(first):
        put(first)
        put(first + 1)

    together(get, get, lambda: produce(0), get, get, lambda: produce(2))
    assert sorted(taken) == [0, 1, 2, 3]


def changed_while_iterating(broken):
    """Sends to all members, and waits in between: members come and go meanwhile."""
    members = {name: Queue(1) for name in "abc"}
    heard = []

    def broadcast():
        for member in members.values() if broken else list(members.values()):
            member.put("hello")

    def listen(name):
        heard.append(members[name].get())
        del members[name]

    together(broadcast, *[lambda name=name: listen(name) for name in "abc"])
    assert heard == ["hello"] * 3


def handed_out_twice(broken):
    """Checks whether the connection works before it marks it as taken."""

    class Connection:
        users, taken = 0, False

    connections = [Connection(), Connection()]
    wire = Semaphore()

    def ping():
        with wire:
            pass

    def use():
        for connection in connections:
            if not connection.taken:
                if broken:
                    ping()
                    connection.taken = True
                else:
                    connection.taken = True
                    ping()
                break
        else:
            return
        connection.users += 1
        assert connection.users == 1
        gevlite.sleep(0)
        connection.users -= 1
        connection.taken = False

    together(use, use)


def last_item(broken):
    """Stops when asked to, although there is still something in the queue."""
    jobs, done = Queue(), []
    stopping = []

    def worker():
        while not stopping if broken else True:
            job = jobs.get()
            if job is None:
                return
            done.append(job)

    def main():
        at_work = gevlite.spawn(worker)
        for job in range(3):
            jobs.put(job)
            gevlite.sleep(0)
        stopping.append(True)
        jobs.put(None)
        at_work.join()

    together(main)
    assert done == [0, 1, 2]


PROGRAMS = [
    double_checked,
    two_locks,
    lost_notification,
    stampede,
    over_a_socket,
    aba,
    second_waiter,
    changed_while_iterating,
    handed_out_twice,
    last_item,
]


def broken(program):
    """The faulty one, under its name."""

    def run():
        program(True)

    run.__qualname__ = program.__name__
    return run


def mended(program):
    def run():
        program(False)

    run.__qualname__ = program.__name__
    return run


def main():
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    for program in PROGRAMS:
        began = time.perf_counter()
        try:
            explore(broken(program))
            print(f"{program.__name__}: not found")
        except ScheduleFailed as failed:
            took = time.perf_counter() - began
            switches = len(failed.schedule.split())
            print(
                f"{program.__name__}: {type(failed.error).__name__} in run {failed.runs}, "
                f"{switches} unusual switches, {took:.2f} s",
                flush=True,
            )
        if seeds:
            began = time.perf_counter()
            explored = explore(mended(program), seeds=seeds)
            print(f"    its twin: {explored!r}, {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
