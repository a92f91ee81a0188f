"""Servers for streams (TCP, TLS, UNIX sockets) and for datagrams."""

import logging
import os

from gevlite import socket, ssl
from gevlite._core import monotonic
from gevlite.baseserver import BaseServer, bound_socket
from gevlite.lock import Semaphore

__all__ = ["DatagramServer", "StreamServer"]

_CONTEXT_ARGS = ("keyfile", "certfile", "cert_reqs", "ca_certs", "ciphers", "ssl_version", "password")
_WRAP_ARGS = ("do_handshake_on_connect", "suppress_ragged_eofs")
# The handshake is a separate step.
_LATER = {"do_handshake_on_connect": False}
# Seconds between two lines in the log about handshakes that failed.
_QUIET = 10.0

_logger = logging.getLogger("gevlite.server")


class StreamServer(BaseServer):
    """Accepts connections and calls `handle(socket, address)` for each; afterwards the socket is closed.

    For `listener`, `handle` and `spawn` see `BaseServer`. backlog: how many connections may wait in the kernel to be
    accepted.

    With TLS arguments, `handle` gets a TLS socket whose handshake is done. They are `ssl_context`, or the values to
    make one from: `certfile`, `keyfile`, `password`, `cert_reqs`, `ca_certs`, `ciphers`. The handshake is made in the
    greenlet of its connection. If it fails, or takes more than `handshake_timeout` seconds, the connection is closed
    and `handshake_failed` is called.
    """

    backlog = 1024
    reuse_addr = 1
    #: Set SO_REUSEPORT, so that several processes can listen on the same port and the kernel distributes the load.
    reuse_port = False
    #: The mode of a UNIX socket's file, such as 0o660; None: the process's umask decides.
    socket_mode = None
    #: Seconds in which a TLS client must finish the handshake.
    handshake_timeout = 10

    def __init__(self, listener, handle=None, backlog=None, spawn="default", **ssl_args):
        self.ssl_args = ssl_args
        self._context = None
        self._failures = 0  # of handshakes, since the last line about them
        self._next_line = 0.0
        self._shaking = {}  # connections in their handshake, each with the time of its start, in that order
        self._wrap_args = {name: ssl_args[name] for name in _WRAP_ARGS if name in ssl_args}
        if ssl_args:
            self._context = _context_of(ssl_args)
        if backlog is not None:
            if hasattr(listener, "accept"):
                raise TypeError("backlog must be None when the listener is a socket")
            self.backlog = backlog
        super().__init__(listener, handle, spawn)

    @property
    def ssl_enabled(self):
        """True if connections are TLS."""
        return self._context is not None

    def _handle(self, *args):
        serve = self.wrap_socket_and_handle if self.ssl_enabled else self.handle
        return serve(*args)

    @classmethod
    def get_listener(cls, address, backlog=None, family=None):
        """A listening gevlite socket, bound to `address`. Raises OSError that names the address."""
        backlog = cls.backlog if backlog is None else backlog
        return cls._listener(address, backlog, family, cls.reuse_port, cls.socket_mode)

    @classmethod
    def _listener(cls, address, backlog, family, reuse_port, mode):
        family = socket.AF_INET if family is None else family
        sock = bound_socket(family, address, socket.SOCK_STREAM, cls.reuse_addr, reuse_port, mode)
        try:
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
        return sock

    def _bind(self):
        return self._listener(self.address, self.backlog, self.family, self.reuse_port, self.socket_mode)

    def do_read(self):
        return self.socket.accept()

    def do_close(self, sock, *args):
        sock.close()

    def close(self):
        """Stop accepting and close the listener. Never blocks. Clients being served are not affected. Clients that wait
        in the backlog are still served, unless the server was given a socket: other processes may accept from it too.
        """
        if self._bound_by == os.getpid() and self._acceptor is not None and self._spawns_at_once():
            self._accept_who_is_there()
        super().close()

    def _accept_who_is_there(self):
        # Otherwise they would be reset when the listener is closed.
        for _ in range(self.backlog):
            if self.full():
                return
            try:
                args = self._read_now()
            except OSError:
                return  # no descriptor left
            if args is None:
                return
            self._begin(args)

    def _read_now(self):
        """Like `do_read`, but does not wait: None if there is no client."""
        before = self.socket.gettimeout()
        self.socket.settimeout(0)
        try:
            return self.do_read()
        except BlockingIOError:
            return None
        finally:
            self.socket.settimeout(before)

    def wrap_socket_and_handle(self, client_socket, address):
        """Make the TLS handshake, then call `handle`."""
        secure = self._shake_hands(client_socket, address)
        if secure is None:
            return None
        try:
            return self.handle(secure, address)
        finally:
            ssl.say_goodbye(secure)
            secure.close()

    def handshake_failed(self, address, exc):
        """Called when a client's handshake has failed with `exc`, an SSLError, TimeoutError or another OSError.

        By default it writes a warning to the log "gevlite.server", at most one in ten seconds. May be overridden.
        """
        self._failures += 1
        now = monotonic()
        if now >= self._next_line:
            self._next_line = now + _QUIET
            more = f" (and {self._failures - 1} more before)" if self._failures > 1 else ""
            self._failures = 0
            _logger.warning("TLS handshake with %s failed: %s%s", _host(address), exc, more)

    def _shake_hands(self, sock, address):
        sock.settimeout(self.handshake_timeout)
        secure = None
        try:
            secure = ssl.SSLSocket._create(sock, server_side=True, context=self._context, **self._wrap_args | _LATER)
            self._shaking[secure] = monotonic()
            if self._wrap_args.get("do_handshake_on_connect", True):
                secure.do_handshake()
            secure.settimeout(None)
            return secure
        except BaseException as exc:
            if secure is not None:
                secure.close()
            if not isinstance(exc, OSError):  # SSLError and TimeoutError are
                raise
            self._failed += 1
            self.handshake_failed(address, exc)
        finally:
            self._shaking.pop(secure, None)


def _host(address):
    return address[0] if isinstance(address, tuple) else address or "a UNIX socket"


def _context_of(args):
    """The server's SSLContext. Raises TypeError for arguments that do not go together."""
    unknown = [name for name in args if name not in (*_CONTEXT_ARGS, *_WRAP_ARGS, "ssl_context", "server_side")]
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    context = args.get("ssl_context")
    if context is not None:
        both = [name for name in _CONTEXT_ARGS if name in args]
        if both:
            raise TypeError(f"{both[0]!r} must be set on the given ssl_context")
        return context
    if not args.get("certfile"):
        raise TypeError("a TLS server needs certfile or ssl_context")
    if args.get("ca_certs") and args.get("cert_reqs") is None:
        raise TypeError("ca_certs needs cert_reqs: ssl.CERT_REQUIRED, CERT_OPTIONAL or CERT_NONE")
    context = ssl.SSLContext(args.get("ssl_version") or ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args["certfile"], args.get("keyfile"), args.get("password"))
    if args.get("ca_certs"):
        context.load_verify_locations(args["ca_certs"])
    if args.get("cert_reqs") is not None:
        context.verify_mode = args["cert_reqs"]
    if args.get("ciphers"):
        context.set_ciphers(args["ciphers"])
    return context


class DatagramServer(BaseServer):
    """Calls `handle(data, address)` for each datagram; answer with `sendto(data, address)`.

    For the arguments see `BaseServer`. If datagrams arrive faster than they are read, the kernel drops some.
    """

    reuse_addr = 1
    reuse_port = False
    #: The maximum length of a datagram; a longer one is cut off.
    max_size = 65536

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._writelock = Semaphore()

    @classmethod
    def get_listener(cls, address, family=None):
        """A gevlite datagram socket, bound to `address`. Raises OSError that names the address."""
        return cls._listener(address, family, cls.reuse_port)

    @classmethod
    def _listener(cls, address, family, reuse_port):
        family = socket.AF_INET if family is None else family
        return bound_socket(family, address, socket.SOCK_DGRAM, cls.reuse_addr, reuse_port)

    def _bind(self):
        return self._listener(self.address, self.family, self.reuse_port)

    def do_read(self):
        return self.socket.recvfrom(self.max_size)

    def sendto(self, *args):
        """`sendto` of the server's socket; several greenlets take turns. Blocks until the kernel takes the datagram."""
        with self._writelock:
            return self.socket.sendto(*args)
