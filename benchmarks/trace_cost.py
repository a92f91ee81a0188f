"""What a trace costs: `python -m benchmarks.trace_cost [--turns 7]`.

Each case runs without a trace and with one in turns, on CPU time. Printed is what an event costs: the difference of the
best turns, divided by the number of events. The exit status is 1 if that is LIMIT or more in any case.
"""

import argparse
import sys
import time

import gevlite
import gevlite.trace
from gevlite import socket
from gevlite.event import Event
from gevlite.lock import RLock
from gevlite.queue import Queue

LIMIT = 2.0  # us


def sleep0(n):
    def yields():
        for _ in range(n):
            gevlite.sleep(0)

    gevlite.joinall([gevlite.spawn(yields) for _ in range(2)])


def event_ping_pong(n):
    ping, pong = Event(), Event()

    def plays(mine, other):
        for _ in range(n):
            mine.wait()
            mine.clear()
            other.set()

    players = [gevlite.spawn(plays, ping, pong), gevlite.spawn(plays, pong, ping)]
    gevlite.sleep(0)
    ping.set()
    gevlite.joinall(players)


def queue_rendezvous(n):
    queue = Queue(1)

    def puts():
        for i in range(n):
            queue.put(i)

    putter = gevlite.spawn(puts)
    for _ in range(n):
        queue.get()
    putter.join()


def lock_contended(n):
    lock = RLock()

    def takes():
        for _ in range(n):
            with lock:
                gevlite.sleep(0)

    gevlite.joinall([gevlite.spawn(takes) for _ in range(2)])


def spawn_join(n):
    def nothing():
        pass

    for _ in range(n // 10):
        gevlite.joinall([gevlite.spawn(nothing) for _ in range(10)])


def echo(n):
    one, other = socket.socketpair()

    def answers():
        while data := other.recv(100):
            other.send(data)

    greenlet = gevlite.spawn(answers)
    with one:
        for _ in range(n):
            one.send(b"x")
            one.recv(100)
    greenlet.join()
    other.close()


def tcp_echo(n):
    listener = socket.create_server(("127.0.0.1", 0))

    def answers():
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    greenlet = gevlite.spawn(answers)
    with listener, socket.create_connection(listener.getsockname()) as client:
        for _ in range(n):
            client.sendall(b"x")
            client.recv(100)
    greenlet.join()


def sleepers(n):
    gevlite.joinall([gevlite.spawn(gevlite.sleep, 0.001) for _ in range(n)])


CASES = {
    sleep0: 20_000,
    event_ping_pong: 20_000,
    queue_rendezvous: 20_000,
    lock_contended: 10_000,
    spawn_join: 10_000,
    echo: 5_000,
    tcp_echo: 5_000,
    sleepers: 5_000,
}


def measure(case, n, turns):
    """`(us without a trace, with it, events)` of the best turns."""
    best = [float("inf"), float("inf")]
    events = 0
    for turn in range(2 * turns):
        traced = turn % 2
        if traced:
            gevlite.trace.start(events=1_000_000)
        start = time.process_time()
        case(n)
        seconds = time.process_time() - start
        if traced:
            made = gevlite.trace.stop()
            events = made.events + made.dropped
        if turn > 1:  # the first of each is for the caches
            best[traced] = min(best[traced], seconds)
    return best[0] * 1e6, best[1] * 1e6, events


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7, help="of each, with and without a trace (default: 7)")
    options = parser.parse_args()
    print(f"{'case':18} {'without':>10} {'with':>10} {'events':>8} {'an event':>10}")
    worst = 0.0
    for case, n in CASES.items():
        without, traced, events = measure(case, n, max(options.turns, 2))
        cost = (traced - without) / events
        worst = max(worst, cost)
        print(f"{case.__name__:18} {without / 1e3:7.1f} ms {traced / 1e3:7.1f} ms {events:8} {cost:7.2f} us")
    print(f"at most {worst:.2f} us an event; the limit is {LIMIT:g}")
    return worst >= LIMIT


if __name__ == "__main__":
    sys.exit(main())
