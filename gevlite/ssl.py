"""Cooperative TLS: the standard `ssl` module with handshakes, reads and writes that block only the calling greenlet.

`SSLSocket` is both a `gevlite.socket.socket` and a standard `ssl.SSLSocket`; methods without I/O come from the latter.
`_sslio` does the waiting for OpenSSL. `MemoryBIO` and `SSLObject` do no I/O themselves and are the original classes.

The original refers to its classes by their names in its module, which patching replaces. Where that would cause errors,
its functions are used with other globals:

* `create_default_context` and similar functions must use gevlite's classes, patched or not: they get this module's
  globals.
* The setters of `SSLContext.options` and others call `super(SSLContext, SSLContext)`. With gevlite's subclass under
  that name, this would find the same setter again, endlessly. They get globals in which the names keep their original
  meaning.
"""

import ssl as _std
from _socket import close as _close
from _ssl import _SSLContext
from errno import EINVAL, ENOTCONN

from gevlite import _twin
from gevlite._sslio import Conversation
from gevlite.socket import create_connection as _create_connection, socket as _Socket

__implements__ = ["SSLContext", "SSLSocket", "get_server_certificate"]
# These follow the names in their module: where those are patched, the original functions need no replacement.
_FOLLOWERS = _twin.present(
    _std,
    "_create_default_https_context",
    "_create_stdlib_context",
    "_create_unverified_context",
    "create_default_context",
    "get_server_certificate",
    "wrap_socket",
)

# Everything of the original that needs no twin: constants, exceptions, MemoryBIO, ...
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside([*__implements__, *_FOLLOWERS], _std, private=True))
_HELPERS = {"base64", "create_connection", "errno", "namedtuple", "os", "socket", "sys", "warnings"}
__all__ = sorted(name for name in {*__implements__, *_FOLLOWERS, *__imports__} - _HELPERS if not name.startswith("_"))

_StdSSLContext = _std.SSLContext
_StdSSLSocket = _std.SSLSocket


_original_names = dict(vars(_std))

# Properties of `SSLContext` that replace the original's. Once ssl.SSLContext is patched, the original class needs them
# too, because contexts made earlier are still in use.
SAFE_PROPERTIES = {
    name: property(value.fget, _twin.with_globals(value.fset, _original_names), value.fdel, value.__doc__)
    for name, value in vars(_StdSSLContext).items()
    if isinstance(value, property) and value.fset is not None and hasattr(_SSLContext, name)
}


class SSLSocket(_Socket, _StdSSLSocket):
    """A TLS connection, made by `SSLContext.wrap_socket`; its blocking calls block only the calling greenlet.

    One greenlet may read while another writes; writes of several greenlets take turns. The socket's time-out limits
    each blocking call, which then raises TimeoutError. In non-blocking mode, SSLWantReadError or SSLWantWriteError say
    what to wait for.
    """

    def __init__(self, *args, **kwargs):
        raise TypeError(
            f"{type(self).__name__} does not have a public constructor. "
            "Instances are returned by SSLContext.wrap_socket()."
        )

    @classmethod
    def _create(
        cls,
        sock,
        server_side=False,
        do_handshake_on_connect=True,
        suppress_ragged_eofs=True,
        server_hostname=None,
        context=None,
        session=None,
    ):
        if sock.getsockopt(_std.SOL_SOCKET, _std.SO_TYPE) != _std.SOCK_STREAM:
            raise NotImplementedError("only stream sockets are supported")
        if server_side and server_hostname:
            raise ValueError("server_hostname can only be specified in client mode")
        if server_side and session is not None:
            raise ValueError("session can only be specified in client mode")
        if context.check_hostname and not server_hostname:
            raise ValueError("check_hostname requires server_hostname")
        timeout = sock.gettimeout()

        self = cls.__new__(cls)
        family, kind, proto = sock.family, sock.type, sock.proto
        # From here on this object must close the descriptor. `detach` returns it in the mode of `sock`, so this is
        # first.
        fd = sock.detach()
        try:
            _Socket.__init__(self, family, kind, proto, fd)
        except BaseException:
            _close(fd)
            raise
        try:
            self._context = context
            self._session = session
            self._sslobj = None
            self._conversation = Conversation()
            self._connected = False
            self.server_side = server_side
            self.server_hostname = hostname = context._encode_hostname(server_hostname)
            self.do_handshake_on_connect = do_handshake_on_connect
            self.suppress_ragged_eofs = suppress_ragged_eofs
            self._connected = self._has_peer()
            self.settimeout(timeout)
            if self._connected:
                self._sslobj = context._wrap_socket(self, server_side, hostname, owner=self, session=session)
                if do_handshake_on_connect:
                    if timeout == 0:
                        raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
                    self.do_handshake()
        except BaseException:
            self.close()
            raise
        return self

    def _has_peer(self):
        """Whether it is connected. Raises SSLError if it no longer is but has data, which did not come through TLS."""
        try:
            self.getpeername()
            return True
        except OSError as exc:
            if exc.errno != ENOTCONN:
                raise
        self.settimeout(0)
        try:
            early = _Socket.recv(self, 1)
        except OSError as exc:
            if exc.errno not in (ENOTCONN, EINVAL):  # EINVAL: a UNIX socket
                raise
            early = b""
        if early:
            reason = "Closed before TLS handshake with data in recv buffer."
            error = _std.SSLError(ENOTCONN, reason)
            error.reason = reason
            error.library = None
            raise error
        return False

    def dup(self):
        """Not possible: the state of the connection cannot be shared. Raises NotImplementedError."""
        raise NotImplementedError(f"Can't dup() {type(self).__name__} instances")

    # -------- what OpenSSL does

    def do_handshake(self, block=False):
        """Make the TLS handshake. block: block without a time-out, even in non-blocking mode."""
        self._check_connected()
        before = self.gettimeout()
        forced = block and before == 0
        if forced:
            self.settimeout(None)
        try:
            self._conversation.call(self, self._sslobj.do_handshake, "The handshake operation timed out")
        finally:
            if forced:
                self.settimeout(before)

    def read(self, len=1024, buffer=None):
        """Return up to `len` bytes, b"" at the end; or read into `buffer` and return how many bytes, 0 at the end."""
        sslobj = self._sslobj
        if sslobj is None:
            raise ValueError("Read on closed or unwrapped SSL socket.")
        try:
            return self._conversation.read(self, sslobj, len, buffer)
        except _std.SSLError as exc:
            if exc.args[0] == _std.SSL_ERROR_EOF and self.suppress_ragged_eofs:
                return b"" if buffer is None else 0
            raise

    def write(self, data):
        """Send some of `data`, at least one byte; returns how many."""
        sslobj = self._sslobj
        if sslobj is None:
            raise ValueError("Write on closed or unwrapped SSL socket.")
        return self._conversation.write(self, sslobj, data)

    def unwrap(self):
        """End the TLS connection: notify the peer and wait for its answer. Returns the socket, now for clear text."""
        if not self._sslobj:
            raise ValueError(f"No SSL wrapper around {self}")
        plain = self._conversation.call(self, self._sslobj.shutdown)
        self._sslobj = None
        return plain

    # -------- the calls of a socket: through TLS where there is a TLS connection, else plain

    def _refuse(self, name):
        raise ValueError(f"{name} not allowed on instances of {self.__class__}")

    def _refuse_flags(self, name):
        raise ValueError(f"non-zero flags not allowed in calls to {name}() on {self.__class__}")

    def recv(self, buflen=1024, flags=0):
        """Receive up to `buflen` bytes; b"" at the end."""
        if self._sslobj is None:
            return _Socket.recv(self, buflen, flags)
        if flags != 0:
            self._refuse_flags("recv")
        return self.read(buflen)

    def recv_into(self, buffer, nbytes=None, flags=0):
        """Like `recv`, into `buffer`. Returns the number of bytes."""
        if not nbytes and self._sslobj is not None:
            with memoryview(buffer) as view:
                nbytes = view.nbytes or 1024
        if self._sslobj is None:
            return _Socket.recv_into(self, buffer, nbytes or 0, flags)
        if flags != 0:
            self._refuse_flags("recv_into")
        return self.read(nbytes, buffer)

    def recvfrom(self, buflen=1024, flags=0):
        """Only before TLS begins."""
        if self._sslobj is not None:
            self._refuse("recvfrom")
        return _Socket.recvfrom(self, buflen, flags)

    def recvfrom_into(self, buffer, nbytes=None, flags=0):
        """Only before TLS begins."""
        if self._sslobj is not None:
            self._refuse("recvfrom_into")
        return _Socket.recvfrom_into(self, buffer, nbytes or 0, flags)

    def recvmsg(self, *args, **kwargs):
        """Not possible: raises NotImplementedError."""
        raise NotImplementedError(f"recvmsg not allowed on instances of {self.__class__}")

    def recvmsg_into(self, *args, **kwargs):
        """Not possible: raises NotImplementedError."""
        raise NotImplementedError(f"recvmsg_into not allowed on instances of {self.__class__}")

    def send(self, data, flags=0):
        """Send some of `data`, at least one byte; returns how many."""
        if self._sslobj is None:
            return _Socket.send(self, data, flags)
        if flags != 0:
            self._refuse_flags("send")
        return self.write(data)

    def sendall(self, data, flags=0):
        """Send all of `data`. The time-out applies to each piece of 16 KiB, the size of a TLS record."""
        if self._sslobj is None:
            return _Socket.sendall(self, data, flags)
        if flags != 0:
            self._refuse_flags("sendall")
        self._conversation.write_all(self, self._sslobj, data)

    def sendto(self, data, flags_or_addr, addr=None):
        """Only before TLS begins."""
        if self._sslobj is not None:
            self._refuse("sendto")
        if addr is None:
            return _Socket.sendto(self, data, flags_or_addr)
        return _Socket.sendto(self, data, flags_or_addr, addr)

    def sendmsg(self, *args, **kwargs):
        """Not possible: raises NotImplementedError, so that nothing is sent unencrypted by mistake."""
        raise NotImplementedError(f"sendmsg not allowed on instances of {self.__class__}")

    def sendfile(self, file, offset=0, count=None):
        """Send a file opened in binary mode, from `offset`; `count` bytes or all. Returns how many bytes were sent."""
        if self._sslobj is None:
            return _Socket.sendfile(self, file, offset, count)
        return self._sendfile_use_send(file, offset, count)

    # -------- connections

    def connect(self, addr):
        """Connect, then make the handshake unless `do_handshake_on_connect` is false."""
        self._connect_and_wrap(addr, _Socket.connect)

    def connect_ex(self, addr):
        """Like `connect`, but if the connection fails, return the errno instead of raising OSError."""
        return self._connect_and_wrap(addr, _Socket.connect_ex)

    def _connect_and_wrap(self, addr, connect):
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._connected or self._sslobj is not None:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        self._sslobj = self.context._wrap_socket(self, False, self.server_hostname, owner=self, session=self._session)
        try:
            failed = connect(self, addr)
            if not failed:
                self._connected = True
                if self.do_handshake_on_connect:
                    self.do_handshake()
            return failed
        except BaseException:
            self._sslobj = None
            raise

    def accept(self):
        """Block until a client has connected and finished the handshake; return `(SSLSocket, address)`.

        A client that stalls in the handshake holds up the caller, for ever unless there is a default time-out. To avoid
        this, pass `do_handshake_on_connect=False` to `wrap_socket` and call `do_handshake` in the greenlet that serves
        the connection.
        """
        plain, address = _Socket.accept(self)
        try:
            return self.context.wrap_socket(
                plain,
                server_side=True,
                do_handshake_on_connect=self.do_handshake_on_connect,
                suppress_ragged_eofs=self.suppress_ragged_eofs,
            ), address
        except BaseException:
            plain.close()
            raise

    def shutdown(self, how):
        """Shut down the connection below TLS; data sent after this would be clear text."""
        self._sslobj = None
        _Socket.shutdown(self, how)

    def _real_close(self):
        self._sslobj = None
        _Socket._real_close(self)


class _MadeLater:
    """The conversation of an original SSLSocket, which was made without one."""

    def __get__(self, sock, owner=None):
        return self if sock is None else vars(sock).setdefault("_conversation", Conversation())


# Attributes for the original class, so that all of its instances block only the calling greenlet.
ADOPTED = {
    name: value
    for name, value in vars(SSLSocket).items()
    if name
    not in (
        "__init__",
        "__slots__",
        "__module__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "_ep",
        "__firstlineno__",
        "__static_attributes__",
    )
} | {"_conversation": _MadeLater()}


class SSLContext(_StdSSLContext):
    """The standard SSLContext whose `wrap_socket` makes cooperative sockets."""

    sslsocket_class = SSLSocket

    locals().update(SAFE_PROPERTIES)


for _name in _FOLLOWERS:
    globals()[_name] = _twin.with_globals(getattr(_std, _name), globals())
del _name

# The original's functions use these names for what it imported from `socket`.
create_connection = _create_connection
socket = _Socket


if not hasattr(_std, "wrap_socket"):  # Python 3.12 removed it from the original

    def wrap_socket(
        sock,
        keyfile=None,
        certfile=None,
        server_side=False,
        cert_reqs=_std.CERT_NONE,
        ssl_version=None,
        ca_certs=None,
        do_handshake_on_connect=True,
        suppress_ragged_eofs=True,
        ciphers=None,
    ):
        """A TLS socket over `sock`, without verification unless `cert_reqs` asks for it: for old code.

        New code should make an SSLContext, with `create_default_context()`.
        """
        if server_side and not certfile:
            raise ValueError("certfile must be given for a server's socket")
        if keyfile and not certfile:
            raise ValueError("keyfile needs a certfile")
        if ssl_version is None:
            ssl_version = _std.PROTOCOL_TLS_SERVER if server_side else _std.PROTOCOL_TLS_CLIENT
        context = SSLContext(ssl_version)
        context.check_hostname = False
        context.verify_mode = cert_reqs
        if ca_certs:
            context.load_verify_locations(ca_certs)
        if certfile:
            context.load_cert_chain(certfile, keyfile)
        if ciphers:
            context.set_ciphers(ciphers)
        return context.wrap_socket(sock, server_side, do_handshake_on_connect, suppress_ragged_eofs)

    __all__ += ["wrap_socket"]


def say_goodbye(secure):
    """Send TLS's close_notify, which tells the client that the connection was not cut; do not wait for its answer."""
    try:
        secure.settimeout(0)
        secure.unwrap()
    except (OSError, ValueError):
        pass
