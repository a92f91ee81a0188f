"""The common part of all servers: one greenlet waits for clients, and each client gets a greenlet of its own.

The accepting greenlet blocks in `do_read` and passes the result to `do_handle`. An error ends it only if the listener
itself is broken: if the process has no file descriptors left, for example, it waits, a little longer each time, and
tries again, while the clients wait in the listener's backlog.

`_serving` has the greenlets that serve clients, so that `stop` can wait for them.
"""

import errno
import logging
import os
import stat
import sys
import weakref
from reprlib import recursive_repr

from gevlite import socket
from gevlite._core import get_hub, monotonic, sleep
from gevlite._user_line import in_words, of_traceback
from gevlite.event import Event
from gevlite.greenlet import Greenlet, getcurrent, killall, spawn_raw
from gevlite.timeout import Timeout

__all__ = ["BaseServer"]

# Every server that has been started and still exists, for `gevlite.metrics`.
_servers = weakref.WeakSet()


_logger = logging.getLogger("gevlite.server")

_ASYNC = 0x80 | 0x200  # of code objects: a coroutine, an asynchronous generator


class BaseServer:
    """Abstract: a subclass defines `do_read` and `init_socket`. `StreamServer` and `DatagramServer` are the public
    ones.

    listener: an address to bind to, or a socket that is already bound (and listens). An address is `(host, port)`,
    `"host:port"`, a port number (on all interfaces), `"unix:/path"`, or `"fd://3"` for an inherited descriptor.

    handle: called for each client; a subclass may define it as a method instead.

    spawn: how `handle` is run.

    * `"default"`: in a new Greenlet
    * a number, or a pool (anything with `spawn` and `full`): in a greenlet of the pool. While the pool is full, no
      client is accepted, and clients wait in the backlog
    * `"raw"`: in a bare greenlet, with a little less overhead
    * any callable: called as `spawn(function, *args)`
    * `None`: in the greenlet that accepts. Until `handle` returns, no other client is served

    `Hub.handle_error` reports an exception in `handle`. KeyboardInterrupt goes to the main greenlet; a line in the log
    says where it came.
    """

    #: Seconds to wait after an error of accept: the first value, doubled each time up to the second value.
    min_delay = 0.01
    max_delay = 1
    #: How many clients are accepted in a row before other greenlets run.
    max_accept = 100
    #: Seconds that `stop` waits for the clients being served.
    stop_timeout = 1
    #: Errors of accept after which the server cannot continue.
    fatal_errors = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

    _spawn = Greenlet.spawn

    def __init__(self, listener, handle=None, spawn="default"):
        self._stop_event = Event()
        self._stop_event.set()
        self._acceptor = None
        self._socket_file = None
        self._bound_by = None  # the process that made the listener
        self._stop_deadline = 0
        self._serving = {}  # the keys: `stop` ends them in the order in which they began
        self._to_begin = 0  # clients handed to greenlets that have not begun
        self._accepted = 0
        self._refused = 0  # connections that were closed because there were too many
        self._failed = 0  # connections that broke before the first request: TLS, PROXY protocol
        self._served = Event()  # a greenlet has left `_serving`
        self.delay = self.min_delay
        self.pool = None
        self.set_spawn(spawn)
        self.set_handle(handle)
        self.set_listener(listener)

    @recursive_repr("<...>")  # `handle` may be a method of the server
    def __repr__(self):
        return f"<{type(self).__name__} {self._formatinfo()}>"

    def _formatinfo(self):
        info = []
        if hasattr(self, "socket"):
            try:
                info.append(f"fileno={self.socket.fileno()}")
            except Exception as exc:
                info.append(f"fileno={exc!r}")
        address = getattr(self, "address", None)
        if isinstance(address, tuple) and len(address) == 2:
            info.append(f"address={address[0]}:{address[1]}")
        else:
            info.append(f"address={address!r}")
        handle = self.__dict__.get("handle")
        if handle is not None:
            info.append(f"handle={handle!r}")
        return " ".join(info)

    @property
    def loop(self):
        """The running thread's `hub.loop`."""
        return get_hub().loop

    # -------- what it is made of

    def set_listener(self, listener):
        """Set `listener`, see the class. Raises TypeError or ValueError if it is neither an address nor a socket."""
        if hasattr(listener, "accept"):
            if hasattr(listener, "do_handshake"):
                raise TypeError(f"expected a plain socket, not {listener!r}: pass ssl_context and the like instead")
            self.family = listener.family
            self.socket = listener
            if not isinstance(listener, socket.socket) or listener.gettimeout() is not None:
                # It blocks the thread, or has a time-out: use a duplicate, and leave the caller's object unchanged
                # until `close`.
                self._given = listener
                self.socket = socket.fromfd(listener.fileno(), listener.family, listener.type, listener.proto)
                self.socket.settimeout(None)  # whatever socket.setdefaulttimeout says; here and below
            self.address = self.socket.getsockname()
            return
        self.family, self.address = parse_address(listener)
        if self.family is None:
            self.socket = socket.socket(fileno=self.address)
            self.socket.settimeout(None)
            self.family = self.socket.family
            self.address = self.socket.getsockname()

    def set_spawn(self, spawn):
        """Set `spawn`, see the class. Raises TypeError if it is not valid."""
        self.pool = None
        if spawn == "default":
            self._spawn = type(self)._spawn
        elif spawn == "raw":
            self._spawn = spawn_raw
        elif spawn is None:
            self._spawn = None
        elif hasattr(spawn, "spawn"):
            self.pool = spawn
            self._spawn = spawn.spawn
        elif isinstance(spawn, int):
            from gevlite.pool import Pool

            self.pool = Pool(spawn)
            self._spawn = self.pool.spawn
        elif callable(spawn):
            self._spawn = spawn
        else:
            raise TypeError(f"spawn must be 'default', 'raw', None, a number, a pool or a callable, not {spawn!r}")

    def set_handle(self, handle):
        """Set the function that serves a client. Raises TypeError if there is none."""
        if handle is not None:
            refuse_async(handle, "handle")
            self.handle = handle
        if not hasattr(self, "handle"):
            raise TypeError("'handle' must be provided: the function that serves a client")

    def _handle(self, *args):
        return self.handle(*args)  # it may have been set meanwhile

    def init_socket(self):
        """Make, bind and listen on the socket, unless there is one. `start` calls it.

        To serve with several processes, call it before `fork()`, and `start` in each child.
        """
        if not self.closed:
            return
        self.socket = self._bind()
        self.socket.settimeout(None)
        self.address = self.socket.getsockname()
        self._bound_by = os.getpid()
        if self.family == socket.AF_UNIX and isinstance(self.address, str) and self.address:
            self._socket_file = self.address, os.getpid()

    def _bind(self):
        raise NotImplementedError

    # -------- accepting

    def do_read(self):
        """Block until there is a client; returns the arguments for `handle` as a tuple, or None if there is none
        yet."""
        raise NotImplementedError

    def full(self):
        """True if no more clients can be served now: the pool is full."""
        pool_is_full = getattr(self.pool, "full", None)
        return pool_is_full is not None and pool_is_full()

    def start_accepting(self):
        """Start the accepting greenlet."""
        if self._acceptor is None:
            self._acceptor = Greenlet.spawn(self._accept)

    def stop_accepting(self):
        """Accept no clients for now; new ones wait in the backlog until `start_accepting`."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None and acceptor is not getcurrent() and acceptor not in self._serving:
            acceptor.kill(block=False)

    def _accept(self):
        me = getcurrent()
        in_a_row = 0
        while self._acceptor is me:
            try:
                if self.full():
                    self._wait_for_room()
                    continue
                args = self.do_read()
            except Exception as exc:
                if self._acceptor is not me:
                    return  # stopped meanwhile: the socket is closed
                self._accept_failed(exc)
                continue
            self.delay = self.min_delay
            if args is None:
                continue
            self._begin(args)
            in_a_row += 1
            if in_a_row >= self.max_accept:
                in_a_row = 0
                sleep(0)

    def _wait_for_room(self):
        wait_available = getattr(self.pool, "wait_available", None)
        if wait_available is None or not self.pool.full():
            sleep(self.min_delay)  # a pool, or a `full` of the subclass, that cannot announce a free place
        else:
            wait_available()

    def _accept_failed(self, exc):
        self._report(())
        if self.is_fatal_error(exc):
            self.close()
        elif not isinstance(exc, (ConnectionError, TimeoutError)):  # those are the client's errors
            delay = self.delay
            self.delay = min(self.max_delay, delay * 2)
            sleep(delay)

    def is_fatal_error(self, ex):
        """True if the listener can never accept again after this exception."""
        return isinstance(ex, OSError) and ex.errno in self.fatal_errors

    def _report(self, args):
        get_hub().handle_error((args, self), *sys.exc_info())

    # -------- serving

    def _begin(self, args):
        self._accepted += 1
        try:
            self.do_handle(*args)
        except Exception:
            self._report(args)

    def _spawns_at_once(self):
        """Whether `do_handle` does not block, as long as the pool is not full."""
        return self.pool is not None or self._spawn in (type(self)._spawn, spawn_raw)

    def do_handle(self, *args):
        """Serve one client, in the way that `spawn` determines."""
        self._to_begin += 1
        if self._spawn is None:
            self._serve(*args)
            return
        try:
            self._spawn(self._serve, *args)
        except BaseException:
            self._to_begin -= 1
            self.do_close(*args)
            raise

    def _serve(self, *args):
        me = getcurrent()
        self._to_begin -= 1
        self._serving[me] = None
        try:
            return self._handle(*args)
        except KeyboardInterrupt as exc:
            self._interrupted(exc, "a client")
        finally:
            self._serving.pop(me, None)
            self._served.set()
            self.do_close(*args)

    def _interrupted(self, exc, what):
        """Ctrl-C came while this greenlet served `what`: not this greenlet's error; pass it to the main greenlet."""
        place = of_traceback(exc.__traceback__)
        where = f", in {in_words(place)}" if place is not None else ""
        _logger.warning("%s interrupted while it served %s%s", type(self).__name__, what, where)
        get_hub().handle_system_error(type(exc), exc)

    def do_close(self, *args):
        """Called when a client has been served, however that ended, with the arguments of `handle`."""

    # -------- start and stop

    @property
    def started(self):
        """True from `start` to `close`."""
        return not self._stop_event.is_set()

    @property
    def closed(self):
        """True while there is no socket: before `start` made it, and after `close`."""
        return not hasattr(self, "socket")

    def _counts(self):
        """Its numbers for `gevlite.metrics`."""
        return {
            "address": name_of(self.address),
            "open": sum(not one.dead for one in list(self._serving)),  # the child of a fork may have dead ones
            "accepted": self._accepted,
            "refused": self._refused,
            "failed": self._failed,
        }

    @property
    def server_host(self):
        """The IP address that it is bound to, None for a UNIX socket."""
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def server_port(self):
        """The port that it is bound to; if 0 was given, the real port once the server is started."""
        return self.address[1] if isinstance(self.address, tuple) else None

    def start(self):
        """Bind, listen, and begin to accept; returns at once. A stopped server can be started again if its listener is
        an address.

        Raises RuntimeError if it is already started, OSError if it cannot bind.
        """
        if self.started:
            raise RuntimeError(f"{self!r} is already started")
        self.init_socket()
        self._stop_event.clear()
        self._stop_deadline = 0
        _servers.add(self)
        try:
            self.start_accepting()
        except BaseException:
            self.close()
            raise

    def close(self):
        """Stop accepting and close the listener. Clients being served are not affected. Never blocks."""
        self._stop_event.set()
        self.stop_accepting()
        for name in ("socket", "_given"):
            listener = self.__dict__.pop(name, None)
            if listener is not None:
                listener.close()
        made, self._socket_file = self._socket_file, None
        # Not in a child process, which has a copy of all this: the file belongs to its parent.
        if made is not None and made[1] == os.getpid():
            try:
                os.unlink(made[0])
            except OSError:
                pass

    def stop(self, timeout=None):
        """`close()`, then block until the clients being served are finished, at most `timeout` seconds (default:
        `stop_timeout`). After that, greenlets that are in a pool are killed; others are left alone.

        If it is called twice at the same time, the longer time applies. A handler set with `signal.signal` may run in a
        greenlet that serves a client: there, call only `close()`, and let `serve_forever` wait.
        """
        self.close()
        timeout = float(self.stop_timeout if timeout is None else timeout)
        self._stop_deadline = max(self._stop_deadline, monotonic() + timeout)
        self._drain()

    @property
    def _may_kill(self):
        return self.pool is not None

    def _drain(self):
        for _ in range(100):  # one is enough in the usual order; one that was killed before it began never will
            sleep(0)
            if self._to_begin <= 0:
                break
        while self._others():
            remaining = self._stop_deadline - monotonic()
            if remaining <= 0:
                break
            self._served.clear()
            self._served.wait(remaining)
        if self._may_kill:
            try:
                killall(self._others(), block=True, timeout=1)
            except Timeout:
                pass  # a greenlet that survives the kill

    def _others(self):
        """The greenlets that serve clients, without the caller."""
        me = getcurrent()
        return [one for one in list(self._serving) if one is not me]

    def __enter__(self):
        """For `with`: leaving the block stops the server. Entering it does not start it."""
        return self

    def __exit__(self, *exc_info):
        self.stop()

    def serve_forever(self, stop_timeout=None):
        """Start the server if needed, write to the log where it listens, and block until it is stopped; then
        `stop(stop_timeout)`.

        The log is "gevlite.server", level INFO. A WSGIServer whose log is the default one, standard error, writes it
        there too.

        If an exception ends the wait (KeyboardInterrupt, SystemExit, a Timeout), the server is stopped too.
        """
        if not self.started:
            self.start()
        self._say_where()
        try:
            try:
                self._stop_event.wait()
            finally:
                # In a greenlet of its own: a second Ctrl-C ends only the waiting here, not the stopping.
                Greenlet.spawn(self.stop, timeout=stop_timeout).join()
        except KeyboardInterrupt as exc:
            # Without the steps by which the wait ended: the traceback would show a dozen of them.
            raise exc.with_traceback(None) from None

    def _say_where(self):
        _logger.info("%s listens on %s", type(self).__name__, self._url())

    def _url(self):
        return name_of(self.address)


def refuse_async(function, name):
    """Raise TypeError if the handler of clients is not callable, or is an async function, whose call runs nothing."""
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {function!r}")
    for called in (function, type(function).__call__):
        code = getattr(getattr(called, "__func__", called), "__code__", None)
        if code is not None and code.co_flags & _ASYNC:
            raise TypeError(f"{name} must be an ordinary function, and {function!r} is async")


def name_of(address, scheme=""):
    """For people, what `getsockname` returns: 127.0.0.1:80, [::1]:80, or unix:/path, which never has a scheme."""
    if not isinstance(address, tuple):
        return f"unix:{os.fsdecode(address)}"
    host, port = address[:2]
    return f"{scheme}[{host}]:{port}" if ":" in host else f"{scheme}{host}:{port}"


def parse_address(address):
    """`(family, address)` for `bind`, from a server's listener argument; `(None, fd)` for `"fd://N"`.

    Raises TypeError or ValueError if it is not an address.
    """
    if isinstance(address, tuple):
        if len(address) < 2:
            raise ValueError(f"an address must be (host, port), not {address!r}")
        host, port = address[:2]
        if not isinstance(host, (str, bytes)):
            raise TypeError(f"an address must be (host, port), not {address!r}")
        _check_port(port, address)
        host = host.decode("ascii") if isinstance(host, bytes) else host
        if ":" in host:
            return socket.AF_INET6, (host, *address[1:])
        if host == "":
            return _everywhere(port)
        return socket.AF_INET, (host, port)
    if isinstance(address, int) and not isinstance(address, bool):
        _check_port(address, address)
        return _everywhere(address)
    if isinstance(address, str):
        if address.startswith("unix:"):
            return socket.AF_UNIX, address.removeprefix("unix:")
        try:
            if address.startswith("fd://"):
                return None, int(address.removeprefix("fd://"))
            host, colon, port = address.rpartition(":")
            if not colon and not port.isdecimal():
                raise ValueError("it has no port, as in '127.0.0.1:8000'")
            port = int(port)
            _check_port(port, address)
            if host.startswith("[") and host.endswith("]"):
                return socket.AF_INET6, (host[1:-1], port)
            if not colon:
                return _everywhere(port)
            return socket.AF_INET, (host, port)
        except ValueError as exc:
            raise ValueError(f"cannot parse the address {address!r}: {exc}") from None
    raise TypeError(f"expected a tuple, a string, a port number or a socket, not {address!r}")


def _check_port(port, address):
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"the port must be a number, not {port!r}, in the address {address!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {port}")


def _everywhere(port):
    # A system may lack IPv6 at run time, as many containers do; only trying shows it.
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return socket.AF_INET, ("", port)
    return socket.AF_INET6, ("::", port)


def bound_socket(family, address, kind, reuse_addr=None, reuse_port=False, mode=None):
    """A gevlite socket bound to `address`; a UNIX socket's file gets `mode`. Raises OSError that names the address."""
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_UNIX:
            _remove_stale(address)
        elif reuse_addr:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_addr)
        if reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise ValueError("SO_REUSEPORT not supported on this platform")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind(address)
        except OSError as exc:
            exc.strerror = f"{exc.strerror}: {address!r}"
            raise
        if mode is not None and family == socket.AF_UNIX and not address.startswith("\0"):
            os.chmod(address, mode)  # no client can connect yet: it does not listen
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path):
    """Remove the socket file that a dead process left. If a process listens on it, it stays, and binding will fail."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except (OSError, ValueError):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass
