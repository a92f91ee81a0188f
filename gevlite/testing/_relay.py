"""The relay of connections with faults, and the methods of sockets that lead to it. See `faults.py`."""

import errno
import fcntl
import os
import shutil
import socket as _std
import struct
import tempfile
import termios

from gevlite import _socketio
from gevlite.event import Event
from gevlite.greenlet import Greenlet
from gevlite.hub import idle
from gevlite.socket import _StdSocket, socket as _Socket, socketpair as _socketpair  # type: ignore[attr-defined]

__all__ = ["Relay", "active", "hooks"]

_STREAMS = (_std.AF_INET, _std.AF_INET6, getattr(_std, "AF_UNIX", None))
_LOOPBACK = {_std.AF_INET: "127.0.0.1", _std.AF_INET6: "::1"}
_BLOCK = 65536
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets the connection
_CONNECT_SECONDS = 30  # of the relay, for a socket in non-blocking mode
_SHORTEST_NAP, _LONGEST_NAP = 0.0005, 1.0


# The faults of connections that are active, in the order in which they began; and their connections by the number that
# the kernel has given to the socket: it stays the same when TLS takes over the descriptor.
active: list = []
_connections: dict = {}


def _inode(sock):
    try:
        return os.fstat(sock.fileno()).st_ino
    except OSError:
        return None


def _found(sock):
    """The faulty connection that this socket belongs to, or None."""
    return _connections.get(_inode(sock)) if _connections else None


class _Own(_Socket):
    """A socket of a relay: it keeps the original methods when those of its base class are replaced."""

    __slots__ = ()


class Relay(Greenlet):
    """Passes bytes on; `faults.spawn` does not apply to it."""


class _Connection:
    """A connection of the code under test to which a fault applies.

    `inner` is the relay's end of the connection to the code under test, `outer` its end of that to the other side; both
    are None if no relay is needed.
    """

    def __init__(self, fault, number, target, sock, names=None):
        self.fault = fault
        self.number = number
        self.target = target
        self.names = names or {}  # what `getpeername` and `getsockname` return
        self.at = None  # the address to which the code under test connects instead
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
            pump = Relay(self.pump, stream, source, target, delay)
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
            # One side has gone, and the other one notices it as it would without the relay.
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
        """Stall or reset here, if the fault says so."""
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
        """Wait until the code under test has read what is there: only the methods of its socket report that."""
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
        """A call has returned the data that it received, or a tuple that begins with it."""
        got = result[0] if isinstance(result, tuple) else result
        self.was_read.set()
        if not got and self.was_reset and self.unix:
            # A UNIX socket cannot be reset: its other side just sees the end.
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def _plan(side, sock, *addresses):
    """`(fault, number)` for a new connection; None if it has no fault."""
    chosen = None
    for fault in list(active):
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
    """What `connect` and `connect_ex` do while a fault is active."""
    begun = _found(sock)
    if begun is not None and begun.at is not None:
        return original(sock, begun.at)  # in non-blocking mode, to ask for the outcome
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
    """Makes a socket of ours at the end of `accept`, even of one that was already waiting when the fault began."""
    return _accepted_by(sock, original(sock, fd))


def _accept(original, sock):
    """What the original `accept` does while a fault is active."""
    made, address = original(sock)
    return _accepted_by(sock, made), address


def _accepted_by(sock, made):
    """The socket that the code under test gets for the connection that a listener has accepted."""
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
    """A listener for one connection. Its folder, if it has one, is removed with it."""

    __slots__ = ("folder",)

    def __init__(self, *args):
        super().__init__(*args)
        self.folder = None

    def __exit__(self, *exc_info):
        self.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _listener(family, refuse=False):
    listener = _Listener(family, _std.SOCK_STREAM)
    try:
        if family in _LOOPBACK:
            listener.bind((_LOOPBACK[family], 0))
        else:
            listener.folder = tempfile.mkdtemp()
            listener.bind(f"{listener.folder}/relay")
        if not refuse:
            listener.listen(1)
    except BaseException:
        listener.__exit__()
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
                continue  # other code has replaced it meanwhile, and kept ours, which now does nothing
            if own:
                setattr(cls, name, before)
            else:
                delattr(cls, name)


hooks = _Hooks()
