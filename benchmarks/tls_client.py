"""The load of the TLS cases, with the standard library alone.

    python tls_client.py AUTHORITY WHAT ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID

WHAT: `echo` sends a message on each connection and the next one when it has come back; `stream` only reads. Prints the
same JSON as the loads in C.
"""

import json
import select
import socket
import ssl
import sys
import time


def server_clock(pid):
    """The number of a process's CPU clock: what clock_getcpuclockid(3) computes on Linux (posix-timers_types.h)."""
    return (~pid << 3) | 2


class Window:
    """The time after the warm-up, in which messages are counted, and the CPU times in it."""

    def __init__(self, warmup, seconds, pid):
        self.clock = server_clock(pid)
        self.begin = time.monotonic() + warmup
        self.seconds = seconds
        self.started = None

    def _now(self):
        return time.monotonic(), time.process_time(), time.clock_gettime(self.clock)

    def look(self):
        """False before that time, True in it, None after it."""
        now = time.monotonic()
        if self.started is None:
            if now < self.begin:
                return False
            self.started = self._now()
        return True if now < self.started[0] + self.seconds else None

    def figures(self, done, samples=()):
        seconds, client, server = (b - a for a, b in zip(self.started, self._now(), strict=True))
        samples = sorted(samples) or [0]
        ranks = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1}
        return {
            "done": done,
            "seconds": seconds,
            "client_cpu": client,
            "server_cpu": server,
            **{name: samples[int((len(samples) - 1) * rank)] for name, rank in ranks.items()},
        }


def echo(socks, message, receive, window):
    """Send the message on each socket, and the next one when `receive(sock)` is true: all of it has come back."""
    poll = select.epoll()
    by_fd = {}
    for sock in socks:
        poll.register(sock, select.EPOLLIN)
        by_fd[sock.fileno()] = sock
    sent_at = {}
    for fd, sock in by_fd.items():
        sock.send(message)
        sent_at[fd] = time.monotonic()
    samples = []
    while (counting := window.look()) is not None:
        for fd, _events in poll.poll(5):
            sock = by_fd[fd]
            if not receive(sock):
                continue
            now = time.monotonic()
            if counting:
                samples.append(now - sent_at[fd])
            sent_at[fd] = now
            sock.send(message)
    return window.figures(len(samples), samples)


def tls_echo(socks, size, window):
    def receive(sock):
        try:
            if not sock.recv(size):
                raise SystemExit("the server hung up")
        except ssl.SSLWantReadError:
            return False
        return True

    for sock in socks:
        sock.setblocking(False)
    return echo(socks, bytes(size), receive, window)


def stream(socks, size, window):
    room = bytearray(1 << 18)
    (sock,) = socks
    done = 0
    while (counting := window.look()) is not None:
        got = sock.recv_into(room)
        if not got:
            raise SystemExit("the server hung up")
        if counting:
            done += got
    return window.figures(done)


def main(authority, what, address, port, connections, size, warmup, seconds, pid):
    context = ssl.create_default_context(cafile=authority)
    socks = []
    for _ in range(int(connections)):
        raw = socket.create_connection((address, int(port)))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks.append(context.wrap_socket(raw, server_hostname="localhost"))
    window = Window(float(warmup), float(seconds), int(pid))
    print(json.dumps({"echo": tls_echo, "stream": stream}[what](socks, int(size), window)))


if __name__ == "__main__":
    main(*sys.argv[1:])
