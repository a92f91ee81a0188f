"""Cooperative sockets: the standard `socket` module with blocking calls that block only the calling greenlet.

`socket` is a subclass of the standard class, so `isinstance` works, and methods without I/O are inherited. The calls
with I/O are in `_socketio`.
"""

import _socket
import os
import socket as _std
import stat
import sys
import weakref
from errno import EAGAIN, EBADF, EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP
from operator import index

from gevlite import _socketio, _twin
from gevlite._core import READ, WRITE, get_hub, is_finalizing, let_others_run
from gevlite._socketfile import makefile as _makefile
from gevlite._socketio import Endpoint
from gevlite.exceptions import ConcurrentObjectUseError
from gevlite.timeout import _RAISE, Timeout, _within

__target__ = "socket"
__implements__ = [
    "SocketType",
    "create_connection",
    "create_server",
    "fromfd",
    "getaddrinfo",
    "getfqdn",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "socket",
    "socketpair",
]
__extensions__ = ["cancel_wait", "wait", "wait_read", "wait_readwrite", "wait_write"]

# Everything of the original that needs no twin: constants, exceptions, byte order, ...
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside([*__implements__, "os", "sys"], _std, private=True))
__all__ = [name for name in _std.__all__ if name in __imports__ or name in __implements__] + __extensions__

_StdSocket = _std.socket
# Looked up now, because the class itself may be adopted.
_std_init = _StdSocket.__init__
_std_detach = _StdSocket.detach
_CSocket = _socket.socket
_SOCK_NONBLOCK = getattr(_socket, "SOCK_NONBLOCK", 0)
_GLOBAL_DEFAULT_TIMEOUT = _std._GLOBAL_DEFAULT_TIMEOUT
_BLOCK = 65536  # bytes per read of a file that sendfile(2) cannot send
_NO_NAMES = ("", b"", "<broadcast>", b"<broadcast>")


def _is_index(value):
    try:
        index(value)
    except TypeError:
        return False
    return True


def _resolver():
    # In a finalizer at the end of the interpreter: a resolver can import nothing any more, and there are no other
    # greenlets that could run meanwhile.
    if is_finalizing():
        return _socket
    let_others_run()  # a numeric address needs no look-up
    return get_hub().resolver


class socket(_StdSocket):
    """A socket whose blocking calls block only the calling greenlet.

    Each of them raises TimeoutError when the time of `settimeout` is over, and OSError(EBADF) if another greenlet
    closes the socket meanwhile. Several greenlets may use one socket, for instance one that reads and one that writes.
    """

    __slots__ = ("_ep",)

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        if fileno is None:
            if type == -1:
                type = _socket.SOCK_STREAM
            _std_init(self, family, type | _SOCK_NONBLOCK, proto)
        else:
            _std_init(self, family, type, proto, fileno)
        wanted_nonblocking = type != -1 and type & _SOCK_NONBLOCK
        if fileno is not None or not _SOCK_NONBLOCK:
            # The descriptor itself never blocks, and the C code never waits: the endpoint handles time-outs.
            _CSocket.setblocking(self, False)
        elif _CSocket.gettimeout(self) != 0:
            _CSocket.settimeout(self, 0)
        self._ep = Endpoint(
            _CSocket.fileno(self),
            int(_CSocket.family.__get__(self)),
            int(_CSocket.type.__get__(self)),
            0 if wanted_nonblocking else _socket.getdefaulttimeout(),
        )

    # -------- time-outs

    def settimeout(self, value, /):
        """Seconds for each blocking call; None for no limit; 0 for non-blocking mode."""
        self._ep.set_timeout(value)

    def gettimeout(self):
        """The value set with `settimeout`."""
        return self._ep.timeout

    timeout = property(gettimeout, doc="The value set with `settimeout`.")

    def setblocking(self, flag, /):
        """`settimeout(None)` or `settimeout(0)`. Raises OSError(EBADF) if the socket is closed."""
        _CSocket.setblocking(self, False)  # no change; asks the kernel whether the descriptor exists
        self._ep.set_timeout(None if flag else 0.0)

    def getblocking(self):
        """False in non-blocking mode."""
        return self._ep.timeout != 0

    # -------- input and output

    recv = _socketio.recv
    recv_into = _socketio.recv_into
    recvfrom = _socketio.recvfrom
    recvfrom_into = _socketio.recvfrom_into
    recvmsg = _socketio.recvmsg
    send = _socketio.send
    sendall = _socketio.sendall
    sendto = _socketio.sendto
    sendmsg = _socketio.sendmsg
    recvmsg_into = _socketio.recvmsg_into
    if hasattr(_socketio, "sendmsg_afalg"):
        sendmsg_afalg = _socketio.sendmsg_afalg

    def accept(self):
        """Block until a client connects; return `(socket, address)`."""
        fd, address = _socketio.accept_fd(self)
        return self._adopt(fd), address

    def _accept(self):
        return _socketio.accept_fd(self)

    def _adopt(self, fd):
        """A gevlite socket for an accepted fd, which is already non-blocking."""
        made = socket.__new__(socket)
        family = _CSocket.family.__get__(self)
        kind = _CSocket.type.__get__(self)
        _std_init(made, family, kind | _SOCK_NONBLOCK, _CSocket.proto.__get__(self), fd)
        if not _SOCK_NONBLOCK:
            _CSocket.settimeout(made, 0)
        made._ep = Endpoint(fd, int(family), int(kind), _socket.getdefaulttimeout())
        return made

    def _resolved(self, address):
        """`address` with its host name looked up, so that the C code does not block on it."""
        family = _CSocket.family.__get__(self)
        if family not in (_socket.AF_INET, _socket.AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
            return address
        host, port = address[:2]
        if not isinstance(host, (str, bytes, bytearray)) or host in _NO_NAMES or not _is_index(port):
            return address  # not a name, or an error that the original reports
        if isinstance(host, str):
            try:
                _socket.inet_pton(family, host)
                return address
            except OSError:
                pass  # not numeric
        elif isinstance(host, bytearray):
            host = bytes(host)
        numbers = _resolver().getaddrinfo(host, None, family)[0][4]
        return (numbers[0], port, *(address[2:] or numbers[2:]))

    def bind(self, address, /):
        """Like the original. Looking up a host name in `address` does not block other greenlets."""
        _CSocket.bind(self, self._resolved(address))

    def connect(self, address, /):
        """Connect; block until it is done. Raises ConnectionRefusedError and the like, TimeoutError, gaierror."""
        error = _socketio.connect_wait(self, self._resolved(address))
        if error:
            raise OSError(error, os.strerror(error))

    def connect_ex(self, address, /):
        """Like `connect`, but return the errno (0: connected) instead of raising OSError."""
        try:
            return _socketio.connect_wait(self, self._resolved(address))
        except TimeoutError:
            return EAGAIN

    def sendfile(self, file, offset=0, count=None):
        """Send a file, opened in binary mode, from `offset`; `count` bytes or all. Returns how many bytes were sent.

        A regular file is sent with sendfile(2); any other file (a pipe, a device, a file in /proc) is read and sent.
        The file's position, if it has one, is moved behind the data that was sent, even after an error. The socket's
        time-out applies to each piece.
        """
        self._check_sendfile_params(file, offset, count)
        if self._ep.timeout == 0:
            raise ValueError("non-blocking sockets are not supported")
        try:
            fd = file.fileno()
            status = os.fstat(fd)
        except (AttributeError, OSError, ValueError):
            return self._sendfile_use_send(file, offset, count)  # not a real file
        if not stat.S_ISREG(status.st_mode):
            return self._sendfile_use_send(file, offset, count)
        total = 0
        # Files in /proc have no size, and sendfile(2) sends nothing of them.
        refused = not _socketio.HAVE_SENDFILE or not status.st_size
        try:
            while not refused and (count is None or total < count):
                sent = _socketio.sendfile_some(self, fd, offset + total, -1 if count is None else count - total)
                if not sent:
                    break
                total += sent
        except OSError as exc:
            refused = not total and exc.errno in (
                EINVAL,
                ENOSYS,
                EOPNOTSUPP,
                ENOTSOCK,
            )  # not supported for this file system
            if not refused:
                raise
        finally:
            if total and hasattr(file, "seek"):
                file.seek(offset + total)
        if refused:
            file.seek(offset)
            return self._sendfile_use_send(file, offset, count)
        return total

    def _sendfile_use_send(self, file, offset=0, count=None):
        self._check_sendfile_params(file, offset, count)
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")
        if offset:
            file.seek(offset)
        total = 0
        try:
            while count is None or total < count:
                with memoryview(file.read(_BLOCK if count is None else min(count - total, _BLOCK))) as block:
                    sent = 0
                    while sent < len(block):
                        n = self.send(block[sent:])
                        sent += n
                        total += n
                if not sent:
                    break
        finally:
            if total and (file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")):
                file.seek(offset + total)
        return total

    def makefile(self, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
        """A file object for the connection, like the original's. mode: "r", "w" or "rw", with "b" for bytes.

        Several greenlets may use it; each call is finished before the next one. If a kill or a `Timeout` ends a read,
        no data is lost: the next read gets it. `close()` waits for a read or write by another greenlet.
        """
        return _makefile(self, mode, buffering, encoding, errors, newline)

    # -------- the end

    def _real_close(self, _ss=_CSocket):
        # Waiters on the descriptor are woken before the number can mean another file.
        try:
            ep = socket._ep.__get__(self)
        except AttributeError:  # __init__ has failed
            ep = None
        except TypeError:  # an instance of the original class
            ep = _endpoints.take(self)
        if ep is not None:
            ep.forget()
        _ss.close(self)

    def detach(self):
        """Give the descriptor away: the socket is closed, but not the descriptor. Its waiters get OSError(EBADF).

        The descriptor is returned in the mode that matches the time-out: blocking if there is none, like the original.
        """
        blocking = self._ep.timeout is None
        self._ep.forget()
        fd = _std_detach(self)
        if blocking and fd >= 0:
            try:
                os.set_blocking(fd, True)
            except OSError:
                pass  # other code has closed it; the original does not check either
        return fd

    @property
    def closed(self):
        """True once the socket has no descriptor. Not in the standard library."""
        return self.fileno() < 0

    @property
    def hub(self):
        """The hub of the running thread; a socket does not belong to a hub."""
        return get_hub()

    def dup(self):
        """A second socket for the same connection."""
        fd = _std.dup(self.fileno())
        made = self.__class__(self.family, self.type, self.proto, fileno=fd)
        made.settimeout(self.gettimeout())
        return made


_socketio.set_endpoint_slot(socket._ep)


# ---------------------------------------------------------------- sockets of the original class


class _Endpoints:
    """A Python descriptor: the endpoint of a socket of the original class, made at its first use.

    From then on the file descriptor never blocks, and the endpoint has the time-out.
    """

    def __init__(self):
        self.kept = {}  # id of a socket: (its endpoint, a weak reference to it)

    def __get__(self, sock, owner=None):
        if sock is None:
            return self
        found = self.kept.get(id(sock))
        if found is not None:
            return found[0]
        fd = _CSocket.fileno(sock)
        timeout = _CSocket.gettimeout(sock)
        ep = Endpoint(
            fd, int(_CSocket.family.__get__(sock)), int(_CSocket.type.__get__(sock)) & ~_SOCK_NONBLOCK, timeout
        )
        if fd >= 0:
            _CSocket.settimeout(sock, 0)
            self.__set__(sock, ep)
        return ep

    def __set__(self, sock, ep):
        key = id(sock)
        self.kept[key] = ep, weakref.ref(sock, lambda reference: self.kept.pop(key, None))

    def take(self, sock):
        found = self.kept.pop(id(sock), None)
        return None if found is None else found[0]

    def give_back(self):
        """Give the time-outs back to the sockets."""
        for ep, reference in list(self.kept.values()):
            sock = reference()
            if sock is not None and ep.fd >= 0:
                _CSocket.settimeout(sock, ep.timeout)
        self.kept.clear()


_endpoints = _Endpoints()

# Attributes for the original class, so that all of its instances, older or newer, block only the calling greenlet.
ADOPTED = {
    name: value
    for name, value in vars(socket).items()
    if name not in ("__init__", "__slots__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__", "hub")
} | {"_ep": _endpoints}

SocketType = socket


def fromfd(fd, family, type, proto=0):
    """A socket for a duplicate of `fd`."""
    return socket(family, type, proto, fileno=_std.dup(fd))


def socketpair(family=None, type=_socket.SOCK_STREAM, proto=0):
    """Two connected sockets; by default UNIX sockets, where they exist."""
    if family is None:
        family = getattr(_socket, "AF_UNIX", _socket.AF_INET)
    return tuple(socket(family, type, proto, fileno=end.detach()) for end in _socket.socketpair(family, type, proto))


def create_connection(address, timeout=_GLOBAL_DEFAULT_TIMEOUT, source_address=None, *, all_errors=False):
    """Connect to `(host, port)`, trying each of the host's addresses in turn; return the socket.

    timeout: seconds for each blocking call of the socket, from now on. source_address: the address to bind to. If no
    address can be reached, the last error is raised, or with `all_errors` an ExceptionGroup of all errors.
    """
    host, port = address
    errors = []
    for family, kind, proto, _name, target in getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
        sock = None
        try:
            sock = socket(family, kind, proto)
            if timeout is not _GLOBAL_DEFAULT_TIMEOUT:
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(target)
            return sock
        except BaseException as exc:
            if sock is not None:
                sock.close()
            if not isinstance(exc, OSError):
                raise
            errors.append(exc)
    try:
        if not errors:
            raise OSError(f"getaddrinfo returned nothing for {host!r}")
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[-1]
    finally:
        errors.clear()  # their tracebacks hold this frame


def create_server(address, *, family=_socket.AF_INET, backlog=None, reuse_port=False, dualstack_ipv6=False):
    """A listening TCP socket bound to `(host, port)`.

    SO_REUSEADDR is set on POSIX. reuse_port: let several sockets listen on the port. dualstack_ipv6: also accept IPv4.
    """
    if reuse_port and not hasattr(_socket, "SO_REUSEPORT"):
        raise ValueError("SO_REUSEPORT not supported on this platform")
    if dualstack_ipv6:
        if not _std.has_dualstack_ipv6():
            raise ValueError("dualstack_ipv6 not supported on this platform")
        if family != _socket.AF_INET6:
            raise ValueError("dualstack_ipv6 requires AF_INET6 family")
    sock = socket(family, _socket.SOCK_STREAM)
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0 if dualstack_ipv6 else 1)
        try:
            sock.bind(address)
        except OSError as exc:
            raise OSError(exc.errno, f"{exc.strerror} (while attempting to bind on address {address!r})") from None
        if backlog is None:
            sock.listen()
        else:
            sock.listen(backlog)
        return sock
    except BaseException:
        sock.close()
        raise


# ---------------------------------------------------------------- names


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    """Like the original; the look-up does not block other greenlets."""
    return [
        (_as_enum(_std.AddressFamily, family), _as_enum(_std.SocketKind, kind), proto, name, address)
        for family, kind, proto, name, address in _resolver().getaddrinfo(host, port, family, type, proto, flags)
    ]


def _as_enum(enum, number):
    try:
        return enum(number)
    except ValueError:
        return number


def gethostbyname(hostname):
    """Like the original; the look-up does not block other greenlets."""
    return _resolver().gethostbyname(hostname)


def gethostbyname_ex(hostname):
    """Like the original; the look-up does not block other greenlets."""
    return _resolver().gethostbyname_ex(hostname)


def gethostbyaddr(ip_address):
    """Like the original; the look-up does not block other greenlets."""
    return _resolver().gethostbyaddr(ip_address)


def getnameinfo(sockaddr, flags):
    """Like the original; the look-up does not block other greenlets."""
    return _resolver().getnameinfo(sockaddr, flags)


def getfqdn(name=""):
    """The fully qualified name of a host, as far as it can be found; without an argument, of this host."""
    name = name.strip()
    if name in ("", "0.0.0.0", "::"):
        name = _socket.gethostname()
    try:
        hostname, aliases, _addresses = gethostbyaddr(name)
    except OSError:
        return name
    return next((known for known in [hostname, *aliases] if "." in known), hostname)


# ---------------------------------------------------------------- any descriptor


def wait_read(fileno, timeout=None, timeout_exc=None):
    """Block until `fileno` (a number or an object with `fileno()`) is readable or at its end.

    Raises `timeout_exc` (TimeoutError) after `timeout` seconds, OSError(EBADF) for a closed descriptor.
    """
    _wait_on(fileno, READ, timeout, timeout_exc)


def wait_write(fileno, timeout=None, timeout_exc=None, event=None):
    """Block until `fileno` is writable. Otherwise like `wait_read`; `event` is ignored, as in gevent."""
    _wait_on(fileno, WRITE, timeout, timeout_exc)


def wait_readwrite(fileno, timeout=None, timeout_exc=None, event=None):
    """Block until `fileno` is readable or writable. Otherwise like `wait_write`."""
    _wait_on(fileno, READ | WRITE, timeout, timeout_exc)


def _wait_on(fileno, events, timeout, timeout_exc):
    if isinstance(timeout, Timeout):
        _within(timeout, _RAISE, _socketio.wait_on, fileno, events, None, None)
    else:
        _socketio.wait_on(fileno, events, timeout, timeout_exc)


def wait(io, timeout=None, timeout_exc=None):
    """Block until `io`, a watcher of `get_hub().loop`, calls back; it is started here and stopped in any case.

    Raises `timeout_exc` (TimeoutError) after `timeout` seconds, `ConcurrentObjectUseError` if the watcher already has a
    callback, because another greenlet waits with it.
    """
    if io.callback is not None:
        raise ConcurrentObjectUseError(f"another greenlet uses {io!r}")
    if timeout is None:
        get_hub().wait(io)
    else:
        if not isinstance(timeout, Timeout):
            timeout = Timeout(timeout, TimeoutError("timed out") if timeout_exc is None else timeout_exc)
        _within(timeout, _RAISE, get_hub().wait, io)


class cancel_wait_ex(OSError):
    """The exception that `cancel_wait` raises in the waiting greenlet."""

    def __init__(self):
        super().__init__(EBADF, "File descriptor was closed in another greenlet")


def cancel_wait(watcher, error=cancel_wait_ex):
    """Raise `error` in the greenlet that blocks in `get_hub().wait(watcher)`, if there is one. Does not block."""
    get_hub().cancel_wait(watcher, error)
