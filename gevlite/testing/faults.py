"""Faults on demand, for tests: connections that stall, break or trickle, names that cannot be resolved, late greenlets.

Each function here returns a `Fault`. It begins with the `with` block and ends with it; what it did is in its `hits`::

    with faults.sockets(server.address, reset_after=100) as fault:
        fetch()
    assert [hit.what for hit in fault.hits] == ["reset"]

How it is done: a connection that a fault is for goes through a relay, two greenlets that pass the bytes on as the fault
says. So everything is real for the code under test, whichever way it reads: a file of `makefile`, TLS, `select`, a
server of gevlite, a stream of asyncio. What stalls is not readable, and who is reset gets ECONNRESET from the kernel.
Only what the kernel cannot be made to do is done where the methods of a socket are called: to take or to give so many
bytes in one call.

While no fault is active, no class and no function is replaced.
"""

import errno
import fcntl
import operator
import os
import socket as _std
import struct
import tempfile
import termios
from collections.abc import Iterable
from typing import NamedTuple

from gevlite import _socketio
from gevlite._core import get_hub
from gevlite.event import Event
from gevlite.greenlet import Greenlet
from gevlite.hub import idle
from gevlite.socket import _StdSocket, socket as _Socket, socketpair as _socketpair

__all__ = ["Fault", "Hit", "resolver", "sockets", "spawn"]

_STREAMS = (_std.AF_INET, _std.AF_INET6, getattr(_std, "AF_UNIX", None))
_LOOPBACK = {_std.AF_INET: "127.0.0.1", _std.AF_INET6: "::1"}
_BLOCK = 65536
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets the connection
_CONNECT_SECONDS = 30  # of the relay, for a socket in non-blocking mode
_SHORTEST_NAP, _LONGEST_NAP = 0.0005, 1.0


class Hit(NamedTuple):
    """What a fault did once."""

    #: `refuse`, `delay`, `receive`, `send`, `stall` or `reset`; of a resolver `error`, `delay` or `order`; `late`.
    what: str
    #: The address, the host name, or the function.
    target: object
    #: Which connection, look-up or start it was, of those that the fault is for: the first is 1.
    number: int
    #: How many bytes had passed.
    at: int = 0


class Fault:
    """A fault that is active within its `with` block. The functions of this module make them."""

    def __init__(self, nth):
        self._nth = _check_nth(nth)
        self._over = Event()
        self._over.set()
        #: What it did, a list of `Hit`, in order.
        self.hits = []
        #: How many connections, look-ups or starts it was for; with `nth`, also those that were left alone.
        self.seen = 0

    @property
    def active(self):
        """True within the `with` block."""
        return not self._over.is_set()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()

    def start(self):
        """Begin, as the `with` block does. Raises RuntimeError if it is active."""
        if self.active:
            raise RuntimeError("this fault is active already")
        self._over.clear()
        self._install()

    def stop(self):
        """End, as the `with` block does; what stalled goes on. Does not block. Doing it twice does nothing."""
        if self.active:
            self._over.set()
            self._remove()

    def _install(self):
        raise NotImplementedError

    def _remove(self):
        raise NotImplementedError

    def _next(self):
        """One more that the fault is for: its number, or 0 if it is to be left alone."""
        self.seen += 1
        return self.seen if self._nth is None or self.seen in self._nth else 0

    def _hit(self, what, target, number, at=0):
        self.hits.append(Hit(what, target, number, at))


def sockets(
    address=None,
    *,
    side="client",
    nth=None,
    refuse=False,
    delay=None,
    receive=None,
    send=None,
    direction="receive",
    stall_after=None,
    stall_for=None,
    reset_after=None,
):
    """A fault of stream connections: TCP or UNIX sockets, of gevlite, of a patched program, or of an event loop, but
    not of uvloop, which makes them in C.

    address: which ones. A port, `(host, port)`, the path of a UNIX socket, or None for all. side: "client" for those
    that this process makes with `connect`, "server" for those that it gets from `accept`; the address is that of the
    server. nth: only the nth of these connections, from 1 on, or several, as `range(2, 5)`.

    What happens to them:

    * refuse: connecting fails with ECONNREFUSED. Only for the side of the client.
    * delay: connecting, or accepting, takes so many seconds longer, and respects the socket's time-out. In non-blocking
      mode a connection is made at once, but nothing passes for so long.
    * receive: a call gets at most so many bytes, and no more are there to be read before these were.
    * send: a call takes at most so many bytes. For what does not call the methods of a socket (event loops, servers,
      `sendall`), the kernel's buffer is as small as can be instead.
    * stall_after: so many bytes pass, and then none for `stall_for` seconds; None: until the fault ends.
    * reset_after: so many bytes pass, and then the connection is reset for both sides. What they had received by then,
      they can still read on Linux.
    * direction: which bytes `stall_after` and `reset_after` count and hold up: those that the side receives ("receive")
      or those that it sends ("send").

    Times are those of the hub, so they follow a `VirtualClock`. If several faults are for a connection, the one that
    began last takes it.
    """
    return _Sockets(
        address, side, nth, refuse, delay, receive, send, direction, stall_after, stall_for, reset_after
    )  # fmt: skip


def resolver(host=None, *, nth=None, error=None, delay=None, reverse=False, addresses=None):
    """A fault of name resolution in this thread, by gevlite's functions or in a patched program.

    host: for which name or address; None: all. nth: only the nth look-up, from 1 on, or several, as `range(2, 5)`.

    * error: what it raises: an exception, a number such as `socket.EAI_AGAIN` for a gaierror, or True for EAI_NONAME.
    * delay: it takes so many seconds longer, also if it then fails.
    * reverse: `getaddrinfo` and `gethostbyname_ex` give the addresses in the opposite order.
    * addresses: numeric addresses that `getaddrinfo` gives instead of the real ones, in this order.
    """
    return _Resolver(host, nth, error, delay, reverse, addresses)


def spawn(late, *, function=None, nth=None):
    """A fault of starts: a greenlet, or a thread of a patched program, begins `late` seconds after it was started.

    `Thread.start` waits until the thread has begun, so there it is this call that takes so long. function: only those
    that run this function, or a function of this name; None: all. nth: only the nth start, from 1 on, or several, as
    `range(2, 5)`. Not for `spawn_raw`.
    """
    return _Spawn(late, function, nth)


# ---------------------------------------------------------------- arguments


def _check_nth(nth):
    if nth is None:
        return None
    if isinstance(nth, Iterable) and not isinstance(nth, (str, bytes)):
        chosen = nth if isinstance(nth, range) else frozenset(_count("nth", one, 1) for one in nth)
        if not chosen or (isinstance(chosen, range) and min(chosen) < 1):
            raise ValueError(f"nth counts from 1 on, and must choose something: {nth!r}")
        return chosen
    return frozenset((_count("nth", nth, 1),))


def _count(name, value, least):
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if number < least:
        raise ValueError(f"{name} is at least {least}, not {value!r}")
    return number


def _optional_count(name, value, least):
    return None if value is None else _count(name, value, least)


def _seconds(name, value):
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not 0 <= value < 1e9:
        raise ValueError(f"{name} is a number of seconds, 0 or more, not {value!r}")
    return value


def _choice(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} is {' or '.join(map(repr, allowed))}, not {value!r}")
    return value


def _check_address(address):
    """`(host, port)`, each None for any, or a path."""
    if address is None:
        return None, None
    if isinstance(address, (tuple, list)):
        if len(address) < 2 or not isinstance(address[0], (str, type(None))):
            raise TypeError(f"address is (host, port), not {address!r}")
        return address[0] or None, _port(address[1])
    if isinstance(address, (str, bytes, os.PathLike)):
        return os.fsdecode(address)
    return None, _port(address)


def _port(value):
    if value is not None and not 1 <= _count("the port", value, 1) <= 65535:
        raise ValueError(f"the port is at most 65535, not {value!r}")
    return value


# ---------------------------------------------------------------- connections


class _Sockets(Fault):
    def __init__(
        self, address, side, nth, refuse, delay, receive, send, direction, stall_after, stall_for, reset_after
    ):
        super().__init__(nth)
        self.address = _check_address(address)
        self.side = _choice("side", side, ("client", "server"))
        self.refuse = bool(refuse)
        self.delay = _seconds("delay", delay)
        self.receive = _optional_count("receive", receive, 1)
        self.send = _optional_count("send", send, 1)
        self.direction = _choice("direction", direction, ("receive", "send"))
        self.stall_after = _optional_count("stall_after", stall_after, 0)
        self.stall_for = _seconds("stall_for", stall_for)
        self.reset_after = _optional_count("reset_after", reset_after, 0)
        others = [one is not None for one in (delay, receive, send, stall_after, reset_after)]
        if not any(others) and not refuse:
            raise ValueError("no fault: give refuse, delay, receive, send, stall_after or reset_after")
        if refuse and (any(others) or side == "server"):
            raise ValueError("refuse is for the side of the client, and nothing else can happen to such a connection")
        if stall_for is not None and stall_after is None:
            raise ValueError("stall_for needs stall_after")
        self.connections = []

    def __repr__(self):
        return f"<fault of {self.side} sockets, address {self.address!r}, {len(self.hits)} hits>"

    def _install(self):
        _active.append(self)
        if len(_active) == 1:
            _hooks.install()

    def _remove(self):
        _active.remove(self)
        for connection in self.connections:
            connection.fault_is_over()
        self.connections.clear()
        if not _active:
            _hooks.remove()

    @property
    def _needs_relay(self):
        return self.receive is not None or self.stall_after is not None or self.reset_after is not None

    def is_for(self, side, family, *addresses):
        """Whether a connection of that side is one of those that were asked for. addresses: all that it is known by."""
        if side != self.side:
            return False
        if isinstance(self.address, str):
            return any(isinstance(one, (str, bytes)) and os.fsdecode(one) == self.address for one in addresses)
        host, port = self.address
        if host is None and port is None:
            return True
        known = [one for one in addresses if isinstance(one, tuple)]
        if port is not None and not any(one[1] == port for one in known):
            return False
        return host is None or any(one[0] == host for one in known) or _resolves(host, family, known)

    def wait(self, seconds, limit):
        """Wait so long, or until the fault is over. Raises TimeoutError if the socket's time-out is over before."""
        if limit is not None and limit < seconds:
            if not self._over.wait(limit):
                raise TimeoutError("timed out")
        else:
            self._over.wait(seconds)


def _resolves(host, family, addresses):
    """Whether one of the numeric addresses is that of the host."""
    try:
        found = get_hub().resolver.getaddrinfo(host, None, family)
    except OSError:
        return False
    return bool({one[4][0] for one in found} & {one[0] for one in addresses})


# The faults of connections that are active, in the order in which they began; and their connections by the number that
# the kernel has given to the socket: it stays the same when TLS takes over the descriptor.
_active = []
_connections = {}


def _inode(sock):
    try:
        return os.fstat(sock.fileno()).st_ino
    except OSError:
        return None


def _found(sock):
    """The faulty connection that this is the socket of, or None."""
    return _connections.get(_inode(sock)) if _connections else None


class _Own(_Socket):
    """A socket of a relay: what is replaced in its base class is not replaced here."""

    __slots__ = ()


class _Relay(Greenlet):
    """What passes bytes on: not for `spawn`."""


class _Connection:
    """A connection of the code under test that a fault is for.

    `inner` is the relay's end of the connection to the code under test, `outer` that to the other side; both None if no
    relay is needed.
    """

    def __init__(self, fault, number, target, sock, names=None):
        self.fault = fault
        self.number = number
        self.target = target
        self.names = names or {}  # what `getpeername` and `getsockname` return
        self.at = None  # where the code under test connects instead
        self.fd, self.inode = sock.fileno(), _inode(sock)
        self.unix = sock.family == getattr(_std, "AF_UNIX", None)
        self.inner = self.outer = None
        self.passed = {"receive": 0, "send": 0}
        self.told = set()
        self.was_reset = self.closed = False
        self.was_read = Event()
        self.pumps = 0
        _connections[self.inode] = self
        fault.connections.append(self)

    def hit(self, what, at=0):
        self.fault._hit(what, self.target, self.number, at)

    def hit_once(self, what, at=0):
        if what not in self.told:
            self.told.add(what)
            self.hit(what, at)

    def fault_is_over(self):
        self.was_read.set()
        if self.inner is None or self.closed:
            self.forget()

    def forget(self):
        if _connections.get(self.inode) is self:
            del _connections[self.inode]

    # -------- the relay

    def relay(self, inner, outer, delay=None):
        self.inner, self.outer = inner, outer
        for sock in (inner, outer):
            sock.settimeout(None)
            if not self.unix:
                sock.setsockopt(_std.IPPROTO_TCP, _std.TCP_NODELAY, 1)
        self.pumps = 2
        host = self.target if isinstance(self.target, str) else ":".join(str(part) for part in self.target[:2])
        for stream, source, target in (("receive", outer, inner), ("send", inner, outer)):
            pump = _Relay(self.pump, stream, source, target, delay)
            pump.name = f"fault: {stream} of {host}"
            pump.start()

    def pump(self, stream, source, target, delay):
        try:
            if delay:
                self.fault._over.wait(delay)
            self.look(stream)
            while not self.closed:
                data = source.recv(_BLOCK)
                if not data:
                    target.shutdown(_std.SHUT_WR)
                    break
                self.pass_on(stream, target, memoryview(data))
        except OSError:
            # One side is gone, and the other one learns of it as it would without the relay.
            self.reset()
        finally:
            self.pumps -= 1
            if not self.pumps:
                self.close()

    def pass_on(self, stream, target, data):
        fault = self.fault
        while data and not self.closed:
            size = len(data)
            paced = stream == "receive" and fault.receive is not None and fault.active
            if paced:
                size = min(size, fault.receive)
            if stream == fault.direction and fault.active:
                for limit in (fault.stall_after, fault.reset_after):
                    if limit is not None and self.passed[stream] < limit:
                        size = min(size, limit - self.passed[stream])
            self.was_read.clear()
            target.sendall(data[:size])
            data = data[size:]
            self.passed[stream] += size
            if paced:
                self.hit_once("receive", self.passed[stream] - size)
                self.wait_until_read()
            self.look(stream)

    def look(self, stream):
        """Stall or reset here, if that is what the fault says."""
        fault, passed = self.fault, self.passed[stream]
        if stream != fault.direction or not fault.active:
            return
        if fault.stall_after is not None and passed >= fault.stall_after and "stall" not in self.told:
            self.hit_once("stall", passed)
            fault._over.wait(fault.stall_for)
        if fault.reset_after is not None and passed >= fault.reset_after and fault.active:
            self.hit_once("reset", passed)
            self.was_reset = True
            self.reset()

    def wait_until_read(self):
        """Until the code under test has read what is there: nothing reports that but the methods of its socket."""
        nap = _SHORTEST_NAP
        idle()
        while self.fault.active and not self.closed and self.unread() and not self.was_read.wait(nap):
            nap = min(nap * 2, _LONGEST_NAP)

    def unread(self):
        try:
            if os.fstat(self.fd).st_ino != self.inode:
                return 0  # closed, or taken over: by TLS, in the same number
            return struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0" * 4))[0]
        except OSError:
            return 0

    def reset(self):
        if not self.closed:
            for sock in (self.inner, self.outer):
                try:
                    sock.setsockopt(_std.SOL_SOCKET, _std.SO_LINGER, _AT_ONCE)
                except OSError:
                    pass
            self.close()

    def close(self):
        self.closed = True
        self.was_read.set()
        self.inner.close()
        self.outer.close()
        if not (self.was_reset and self.unix and self.fault.active):
            self.forget()

    # -------- calls of the code under test

    def room(self, what, size, flags=0):
        """How many of `size` bytes a call may receive or send."""
        limit = getattr(self.fault, what)
        if limit is None or limit >= size or not self.fault.active or flags & _std.MSG_WAITALL:
            return size
        self.hit_once(what)
        return limit

    def received(self, result):
        """A call has returned what it received, or a tuple that begins with it."""
        got = result[0] if isinstance(result, tuple) else result
        self.was_read.set()
        if not got and self.was_reset and self.unix:
            # A UNIX socket has no reset: its other side just ends.
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def _plan(side, sock, *addresses):
    """`(fault, number)` for a new connection; None if it has no fault."""
    chosen = None
    for fault in list(_active):
        if fault.is_for(side, sock.family, *addresses):
            number = fault._next()
            if number:
                chosen = fault, number
    return chosen


def _can_be_faulty(sock):
    if sock.family not in _STREAMS or sock.type & ~_NOT_TYPE != _std.SOCK_STREAM:
        return False
    # An original socket in blocking mode stops the whole thread, and the relay with it.
    return isinstance(sock, _Socket) or hasattr(_StdSocket, "_ep") or sock.gettimeout() == 0


_NOT_TYPE = getattr(_std, "SOCK_NONBLOCK", 0) | getattr(_std, "SOCK_CLOEXEC", 0)


def _connect(original, sock, address):
    """What `connect` and `connect_ex` do now."""
    begun = _found(sock)
    if begun is not None and begun.at is not None:
        return original(sock, begun.at)  # in non-blocking mode, to ask what became of it
    if not _can_be_faulty(sock):
        return original(sock, address)
    exact = _Socket._resolved(sock, address)
    plan = _plan("client", sock, address, exact)
    if plan is None:
        return original(sock, address)
    fault, number = plan
    if fault.refuse:
        fault._hit("refuse", address, number)
        with _listener(sock.family, refuse=True) as closed:
            return original(sock, closed.getsockname())
    limit = sock.gettimeout()
    if fault.delay is not None:
        fault._hit("delay", address, number)
        if limit != 0:
            fault.wait(fault.delay, limit)
    if fault.send is not None:
        sock.setsockopt(_std.SOL_SOCKET, _std.SO_SNDBUF, 1)
    if not fault._needs_relay and not (fault.delay and limit == 0):
        result = original(sock, address)
        if fault.send is not None:
            _Connection(fault, number, address, sock)
        return result
    outer = _Own(sock.family, _std.SOCK_STREAM, sock.proto)
    try:
        outer.settimeout(_CONNECT_SECONDS if limit == 0 else limit)
        outer.connect(exact)
        names = {"getpeername": outer.getpeername(), "getsockname": outer.getsockname()}
        listener = _listener(sock.family)
    except BaseException:
        outer.close()
        raise
    with listener:
        connection = _Connection(fault, number, address, sock, names)
        connection.at = listener.getsockname()
        begun = False
        try:
            result = original(sock, connection.at)
            begun = result in (None, 0, errno.EINPROGRESS)
            return result
        except BlockingIOError:
            begun = True
            raise
        finally:
            if begun:
                connection.relay(_accepted(listener), outer, fault.delay if limit == 0 else None)
            else:
                connection.forget()
                outer.close()


def _connect_ex(original, sock, address):
    try:
        return _connect(original, sock, address)
    except TimeoutError:
        return errno.EAGAIN
    except _std.gaierror:
        raise
    except OSError as exc:
        if exc.errno is None:
            raise
        return exc.errno


def _adopt(original, sock, fd):
    """What makes a socket of ours at the end of `accept`: so also of one that waited already when the fault began."""
    return _accepted_by(sock, original(sock, fd))


def _accept(original, sock):
    """What the original `accept` does now."""
    made, address = original(sock)
    return _accepted_by(sock, made), address


def _accepted_by(sock, made):
    """What the code under test gets for the connection that a listener has accepted."""
    if not _can_be_faulty(sock):
        return made
    here = sock.getsockname()
    plan = _plan("server", made, here, made.getsockname())
    if plan is None:
        return made
    fault, number = plan
    try:
        limit = sock.gettimeout()
        if fault.delay is not None:
            fault._hit("delay", here, number)
            if limit != 0:
                fault.wait(fault.delay, None)
        if fault.send is not None:
            made.setsockopt(_std.SOL_SOCKET, _std.SO_SNDBUF, 1)
        if fault._needs_relay or (fault.delay and limit == 0):
            return _behind_relay(fault, number, here, made, fault.delay if limit == 0 else None)
        if fault.send is not None:
            _Connection(fault, number, here, made)
        return made
    except BaseException:
        made.close()
        raise


def _behind_relay(fault, number, here, made, delay):
    """A socket for the code under test, in place of the one that `accept` has made."""
    names = {"getsockname": made.getsockname(), "getpeername": made.getpeername()}
    timeout, family, proto = made.gettimeout(), made.family, made.proto
    ours, inner = _pair(family)
    outer = _Own(family, _std.SOCK_STREAM, proto, made.detach())
    sock = type(made)(family, _std.SOCK_STREAM, proto, ours.detach())
    sock.settimeout(timeout)
    if fault.send is not None:
        sock.setsockopt(_std.SOL_SOCKET, _std.SO_SNDBUF, 1)
    _Connection(fault, number, here, sock, names).relay(inner, outer, delay)
    return sock


def _pair(family):
    if family not in _LOOPBACK:
        return [_Own(family, _std.SOCK_STREAM, 0, end.detach()) for end in _socketpair(family, _std.SOCK_STREAM)]
    with _listener(family) as listener:
        ours = _Own(family, _std.SOCK_STREAM)
        ours.connect(listener.getsockname())
        return ours, _accepted(listener)


class _Listener(_Own):
    """A listener for one connection. Its path, if it has one, ends with it."""

    __slots__ = ()

    def __exit__(self, *exc_info):
        name = self.getsockname()
        self.close()
        if isinstance(name, str) and name:
            os.unlink(name)
            os.rmdir(os.path.dirname(name))


def _listener(family, refuse=False):
    listener = _Listener(family, _std.SOCK_STREAM)
    try:
        listener.bind((_LOOPBACK[family], 0) if family in _LOOPBACK else f"{tempfile.mkdtemp()}/relay")
        if not refuse:
            listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener


def _accepted(listener):
    fd, _address = _socketio.accept_fd(listener)
    return _Own(listener.family, _std.SOCK_STREAM, listener.proto, fd)


# -------- methods of sockets, while a fault is active


def _nbytes(buffer):
    with memoryview(buffer) as view:
        return view.nbytes


def _sized(original, flags_at):
    def call(self, size, *rest):
        connection = _found(self)
        if connection is None:
            return original(self, size, *rest)
        flags = rest[flags_at] if len(rest) > flags_at else 0
        result = original(self, connection.room("receive", size, flags), *rest)
        connection.received(result)
        return result

    return call


def _into(original):
    def call(self, buffer, nbytes=0, flags=0):
        connection = _found(self)
        if connection is None:
            return original(self, buffer, nbytes, flags)
        result = original(self, buffer, connection.room("receive", nbytes or _nbytes(buffer), flags), flags)
        connection.received(result)
        return result

    return call


def _message_into(original):
    def call(self, buffers, ancbufsize=0, flags=0):
        connection = _found(self)
        if connection is None:
            return original(self, buffers, ancbufsize, flags)
        buffers = list(buffers)
        total = sum(map(_nbytes, buffers))
        room = connection.room("receive", total, flags)
        result = original(self, buffers if room == total else _first(buffers, room), ancbufsize, flags)
        connection.received(result)
        return result

    return call


def _first(buffers, room):
    """The first `room` bytes of the buffers."""
    chosen = []
    for buffer in buffers:
        view = memoryview(buffer).cast("B")[:room] if _nbytes(buffer) else b""
        room -= len(view)
        chosen.append(view)
    return chosen


def _send(original):
    def call(self, data, *rest):
        connection = _found(self)
        if connection is not None:
            size = _nbytes(data)
            room = connection.room("send", size)
            if room < size:
                data = memoryview(data).cast("B")[:room]
        return original(self, data, *rest)

    return call


def _send_message(original):
    def call(self, buffers, *rest):
        connection = _found(self)
        if connection is not None:
            buffers = list(buffers)
            total = sum(map(_nbytes, buffers))
            room = connection.room("send", total)
            if room < total:
                buffers = _first(buffers, room)
        return original(self, buffers, *rest)

    return call


def _secure_read(original):
    def read(self, len=1024, buffer=None):
        connection = _found(self)
        return original(self, len if connection is None else connection.room("receive", len), buffer)

    return read


def _named(original):
    def call(self):
        connection = _found(self)
        name = connection.names.get(original.__name__) if connection is not None else None
        return original(self) if name is None else name

    return call


def _plain(function):
    return lambda original: lambda *args: function(original, *args)


_METHODS = {
    "connect": _plain(_connect),
    "connect_ex": _plain(_connect_ex),
    "recv": lambda original: _sized(original, 0),
    "recvfrom": lambda original: _sized(original, 0),
    "recvmsg": lambda original: _sized(original, 1),
    "recv_into": _into,
    "recvfrom_into": _into,
    "recvmsg_into": _message_into,
    "send": _send,
    "sendmsg": _send_message,
    "getpeername": _named,
    "getsockname": _named,
}
_OWN_METHODS = {"_adopt": _plain(_adopt)}
_STD_METHODS = {"accept": _plain(_accept)}
_SECURE_METHODS = {"read": _secure_read, "write": _send}

for _name in {**_METHODS, **_OWN_METHODS}:
    setattr(_Own, _name, getattr(_Socket, _name))


class _Hooks:
    """The methods that are replaced while a fault of connections is active."""

    def __init__(self):
        self.undo = []

    def install(self):
        for cls, more in ((_Socket, _OWN_METHODS), (_StdSocket, _STD_METHODS)):
            for name, wrap in {**_METHODS, **more}.items():
                self.replace(cls, name, wrap)
        try:
            from gevlite.ssl import SSLSocket
        except ImportError:
            return  # a Python without it
        for name, wrap in _SECURE_METHODS.items():
            self.replace(SSLSocket, name, wrap)

    def replace(self, cls, name, wrap):
        own = name in vars(cls)
        before = getattr(cls, name)
        made = wrap(before)
        made.__name__, made.__doc__ = name, before.__doc__
        setattr(cls, name, made)
        self.undo.append((cls, name, made, own, before))

    def remove(self):
        while self.undo:
            cls, name, made, own, before = self.undo.pop()
            if vars(cls).get(name) is not made:
                continue  # replaced by others meanwhile, who have kept ours: it does nothing any more
            if own:
                setattr(cls, name, before)
            else:
                delattr(cls, name)


_hooks = _Hooks()


# ---------------------------------------------------------------- names


_ERRORS = {
    getattr(_std, name, None): text
    for name, text in {
        "EAI_NONAME": "Name or service not known",
        "EAI_AGAIN": "Temporary failure in name resolution",
        "EAI_FAIL": "Non-recoverable failure in name resolution",
        "EAI_NODATA": "No address associated with hostname",
    }.items()
}


class _Resolver(Fault):
    def __init__(self, host, nth, error, delay, reverse, addresses):
        super().__init__(nth)
        if host is not None and not isinstance(host, (str, bytes)):
            raise TypeError(f"host is a name, not {host!r}")
        self.host = host if host is None else os.fsdecode(host).lower()
        self.error = _check_error(error)
        self.delay = _seconds("delay", delay)
        self.reverse = bool(reverse)
        self.addresses = _check_addresses(addresses)
        if self.error is None and delay is None and not reverse and addresses is None:
            raise ValueError("no fault: give error, delay, reverse or addresses")
        self.hub = self.outer = None

    def __repr__(self):
        return f"<fault of the resolver, host {self.host!r}, {len(self.hits)} hits>"

    def _install(self):
        self.hub = get_hub()
        self.outer = _FaultyResolver(self, self.hub.resolver)
        self.hub.resolver = self.outer

    def _remove(self):
        outermost = self.hub.resolver
        if outermost is self.outer:
            self.hub.resolver = self.outer._inner
        while isinstance(outermost, _FaultyResolver):  # one that began later may go through this one
            if outermost._inner is self.outer:
                outermost._inner = self.outer._inner
            outermost = outermost._inner
        self.outer = None

    def before(self, name):
        """A look-up begins: its number if it is one of those that were asked for, else 0. Raises the error."""
        if isinstance(name, (bytes, bytearray)):
            name = os.fsdecode(bytes(name))
        if not self.active or self.host not in (None, name.lower() if isinstance(name, str) else name):
            return 0
        number = self._next()
        if number and self.delay is not None:
            self._hit("delay", name, number)
            self._over.wait(self.delay)
        if number and self.error is not None:
            self._hit("error", name, number)
            raise self.error() if isinstance(self.error, type) else self.error.with_traceback(None)
        return number


def _check_error(error):
    if error is None or error is False:
        return None
    if isinstance(error, BaseException) or isinstance(error, type) and issubclass(error, BaseException):
        return error
    number = _std.EAI_NONAME if error is True else operator.index(error)
    return _std.gaierror(number, _ERRORS.get(number, f"error {number} of name resolution"))


def _check_addresses(addresses):
    if addresses is None:
        return None
    if isinstance(addresses, (str, bytes)):
        raise TypeError(f"addresses is a list, not {addresses!r}")
    found = list(addresses)
    for one in found:
        try:
            _std.inet_pton(_std.AF_INET6 if ":" in one else _std.AF_INET, one)
        except (OSError, TypeError):
            raise ValueError(f"not a numeric address: {one!r}") from None
    if not found:
        raise ValueError("addresses is empty: for a name without one, give error=socket.EAI_NONAME")
    return found


class _FaultyResolver:
    """In the place of a hub's resolver."""

    def __init__(self, fault, inner):
        self._fault = fault
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        fault = self._fault
        number = fault.before(host)
        if not number or (fault.addresses is None and not fault.reverse):
            return self._inner.getaddrinfo(host, port, family, type, proto, flags)
        found = []
        for name in fault.addresses or [host]:
            if fault.addresses and family not in (0, _std.AF_INET6 if ":" in name else _std.AF_INET):
                continue
            found += self._inner.getaddrinfo(name, port, family, type, proto, flags)
        if not found:
            raise _std.gaierror(_std.EAI_NONAME, _ERRORS[_std.EAI_NONAME])
        fault._hit("order", host, number)
        return found[::-1] if fault.reverse else found

    def gethostbyname(self, hostname):
        if self._fault.before(hostname) and self._fault.addresses:
            return self._fault.addresses[0]
        return self._inner.gethostbyname(hostname)

    def gethostbyname_ex(self, hostname):
        fault = self._fault
        number = fault.before(hostname)
        name, aliases, found = self._inner.gethostbyname_ex(hostname)
        if number and fault.reverse:
            fault._hit("order", hostname, number)
            found = found[::-1]
        return name, aliases, found

    def gethostbyaddr(self, ip_address):
        self._fault.before(ip_address)
        return self._inner.gethostbyaddr(ip_address)

    def getnameinfo(self, sockaddr, flags):
        self._fault.before(sockaddr[0])
        return self._inner.getnameinfo(sockaddr, flags)


# ---------------------------------------------------------------- starts


class _Spawn(Fault):
    def __init__(self, late, function, nth):
        super().__init__(nth)
        if late is None:
            raise TypeError("late is a number of seconds, not None")
        self.late = _seconds("late", late)
        if function is not None and not isinstance(function, str) and not callable(function):
            raise TypeError(f"function is a function or its name, not {function!r}")
        self.function = function

    def __repr__(self):
        return f"<fault of starts, {self.late} s late, {len(self.hits)} hits>"

    def _install(self):
        Greenlet.add_spawn_callback(self.started)

    def _remove(self):
        Greenlet.remove_spawn_callback(self.started)

    def started(self, greenlet):
        """A greenlet is about to begin."""
        if isinstance(greenlet, _Relay):
            return
        function = _function_of(greenlet)
        wanted = self.function
        if isinstance(wanted, str):
            name = getattr(function, "__qualname__", "")
            if wanted not in (name, getattr(function, "__name__", "")):
                return
        elif wanted is not None and wanted != function:
            return
        number = self._next()
        if number and greenlet._put_off(self.late):
            self._hit("late", function, number)


def _function_of(greenlet):
    """What it runs, or what the thread runs that it is the greenlet of."""
    thread = getattr(greenlet, "_thread", None)
    if thread is not None:
        return getattr(thread, "_target", None) or thread.run
    return greenlet._run
