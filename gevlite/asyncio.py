"""asyncio on the hub: an event loop for each greenlet that runs one, and the ways between coroutines and greenlets.

`EventLoop` is asyncio's own loop for UNIX, except for what waits: it has no selector and no pipe to itself. See `_aio`
for how it runs and `_aiostream` for its stream transports. Datagrams, pipes, subprocesses, TLS and servers are
asyncio's.
"""

import errno
import signal
from asyncio import coroutines, sslproto, unix_events

from gevlite import _aio
from gevlite._aiostream import SocketTransport
from gevlite._core import READ, WRITE

__all__ = ["EventLoop"]


class _Descriptors:
    """What asyncio's transports ask a selector: whether a descriptor is watched."""

    def __init__(self, loop):
        self.loop = loop

    def get_key(self, fd):
        key = self.get_map().get(fd)
        if key is None:
            raise KeyError(f"{fd!r} is not registered")
        return key

    def get_map(self):
        return self

    def get(self, fd):
        events = self.loop._watched(fd)
        return _Key(events) if events else None

    def close(self):
        pass


class _Key:
    def __init__(self, events):
        # As selectors count: EVENT_READ is 1, EVENT_WRITE is 2.
        self.events = (1 if events & READ else 0) | (2 if events & WRITE else 0)


class EventLoop(_aio.LoopCore, unix_events._UnixSelectorEventLoop):
    """An asyncio event loop that waits in the hub of the thread that runs it.

    Any number of them run in one thread at once, each in the greenlet that has called `run_forever`,
    `run_until_complete` or `asyncio.run`, and other greenlets go on meanwhile. A callback or a coroutine that calls
    something that blocks holds up its own loop only. To make one costs microseconds.

    `asyncio.run(main(), loop_factory=gevlite.asyncio.EventLoop)`
    """

    def __init__(self):
        super(_aio.LoopCore, self).__init__(_NO_SELECTOR)

    @property
    def _selector(self):
        return None if self._closed else _Descriptors(self)

    @_selector.setter
    def _selector(self, value):
        pass  # asyncio's own code sets it

    # There is no pipe to itself.

    def _make_self_pipe(self):
        pass

    def _close_self_pipe(self):
        pass

    def close(self):
        """Close the loop: what is ready or timed is never called, descriptors are watched no more."""
        super().close()
        self._forget_all()

    # -------- transports

    def _make_socket_transport(self, sock, protocol, waiter=None, *, extra=None, server=None, context=None):
        self._ensure_fd_no_transport(sock)
        return SocketTransport(self, sock, protocol, waiter, extra, server, context)

    def _make_ssl_transport(
        self,
        rawsock,
        protocol,
        sslcontext,
        waiter=None,
        *,
        server_side=False,
        server_hostname=None,
        extra=None,
        server=None,
        ssl_handshake_timeout=None,
        ssl_shutdown_timeout=None,
        call_connection_made=True,
        context=None,
    ):
        self._ensure_fd_no_transport(rawsock)
        tls = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=call_connection_made,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        SocketTransport(self, rawsock, tls, None, extra, server, context)
        return tls._app_transport

    # -------- signals

    def add_signal_handler(self, sig, callback, *args):
        """Call `callback(*args)` in the loop when the signal `sig` comes. In the main thread only.

        Raises ValueError for an unknown signal, RuntimeError for one that cannot be caught or in another thread.
        """
        if coroutines.iscoroutine(callback) or coroutines.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        before = self._signal_handlers.get(sig)
        self._signal_handlers[sig] = self._make_handle(callback, args)
        try:
            signal.signal(sig, self._signal_came)
            signal.siginterrupt(sig, False)
        except (ValueError, OSError, RuntimeError) as exc:
            if before is not None:
                self._signal_handlers[sig] = before
            else:
                del self._signal_handlers[sig]
            if isinstance(exc, OSError) and exc.errno != errno.EINVAL:
                raise
            raise RuntimeError(f"sig {sig} cannot be caught" if isinstance(exc, OSError) else str(exc)) from None

    def _signal_came(self, signum, frame):
        self._handle_signal(signum)

    def remove_signal_handler(self, sig):
        """Undo `add_signal_handler`. True if there was one."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        return True


# asyncio's constructor makes a selector unless it is given one; ours never keeps it.
_NO_SELECTOR = object()
