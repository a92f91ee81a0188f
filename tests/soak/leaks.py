"""A million greenlets, a million time-outs, a hundred thousand connections: memory and object counts must stay flat.

    python tests/soak/leaks.py [FACTOR]

Takes about half a minute; FACTOR multiplies the counts. Exits with 1 if something grew. Needs psutil.
"""

import gc
import struct
import sys

import psutil

import gevlite
from gevlite import socket

PROCESS = psutil.Process()
# Connections end by reset, so that the ports do not run out in TIME_WAIT.
NO_LINGER = struct.pack("ii", 1, 0)


def spawns(count):
    for _ in range(count // 1000):
        gevlite.joinall([gevlite.spawn(lambda: None) for _ in range(1000)])


def timeouts_cancelled(count):
    for _ in range(count):
        with gevlite.Timeout(10):
            pass


def timeouts_fired(count):
    for _ in range(count // 10):
        with gevlite.Timeout(1e-6, False):
            gevlite.sleep(1)


def connections(count):
    def answer(connection):
        with connection:
            connection.sendall(connection.recv(100))

    def serve():
        while True:
            gevlite.spawn(answer, listener.accept()[0])

    def client():
        with socket.create_connection(listener.getsockname()) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            connection.sendall(b"x")
            assert connection.recv(10) == b"x"

    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        server = gevlite.spawn(serve)
        for _ in range(count // 1000):
            gevlite.joinall([gevlite.spawn(client) for _ in range(100)], raise_error=True)
        server.kill()


def held():
    gc.collect()
    return PROCESS.memory_info().rss // 1024, len(gc.get_objects())


def main(factor):
    grown = False
    for work in (spawns, timeouts_cancelled, timeouts_fired, connections):
        count = int(1_000_000 * factor)
        work(count // 20)  # caches and free lists fill up
        before = held()
        work(count)
        after = held()
        print(f"{work.__name__:20} RSS {before[0]} -> {after[0]} KiB, objects {before[1]} -> {after[1]}", flush=True)
        grown |= after[0] > before[0] + 2048 or after[1] > before[1] + 200
    counters = gevlite.get_hub().stats()
    left = {name: counters[name] for name in ("greenlets", "parked", "timers", "fds", "fd_waiters", "refs", "watchers")}
    print("left in the hub:", left)
    return grown or any(left.values())


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
