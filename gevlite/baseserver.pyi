"""The common part of all servers: one greenlet waits for clients, and each client gets a greenlet of its own.

The accepting greenlet blocks in `do_read` and passes the result to `do_handle`. An error ends it only if the listener
itself is broken: if the process has no file descriptors left, for example, it waits, a little longer each time, and
tries again, while the clients wait in the listener's backlog.

`_serving` has the greenlets that serve clients, so that `stop` can wait for them.
"""

import socket as _std_socket
from collections.abc import Callable
from typing import Any, Self, TypeAlias
from weakref import WeakSet

from gevlite.loop import Loop
from gevlite.pool import Group
from gevlite.socket import socket as _Socket
from gevlite.timeout import Timeout

__all__ = ["BaseServer"]

_servers: WeakSet[BaseServer]

_Address: TypeAlias = tuple[Any, ...] | str | int
_Listener: TypeAlias = _Address | _std_socket.socket
_Spawn: TypeAlias = str | int | Group | Callable[..., Any] | None

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

    min_delay: float
    """Seconds to wait after an error of accept: the first value, doubled each time up to the second value."""
    max_delay: float
    max_accept: int
    """How many clients are accepted in a row before other greenlets run."""
    stop_timeout: float
    """Seconds that `stop` waits for the clients being served."""
    fatal_errors: tuple[int, ...]
    """Errors of accept after which the server cannot continue."""
    delay: float
    pool: Any
    # Missing while `closed`.
    socket: _Socket
    family: int | None
    address: Any
    # What the constructor was given, or a method of a subclass.
    @property
    def handle(self) -> Callable[..., Any]: ...
    def __init__(
        self, listener: _Listener, handle: Callable[..., Any] | None = None, spawn: _Spawn = "default"
    ) -> None: ...
    @property
    def loop(self) -> Loop:
        """The running thread's `hub.loop`."""
    def set_listener(self, listener: _Listener) -> None:
        """Set `listener`, see the class. Raises TypeError or ValueError if it is neither an address nor a socket."""
    def set_spawn(self, spawn: _Spawn) -> None:
        """Set `spawn`, see the class. Raises TypeError if it is not valid."""
    def set_handle(self, handle: Callable[..., Any] | None) -> None:
        """Set the function that serves a client. Raises TypeError if there is none."""
    def init_socket(self) -> None:
        """Make, bind and listen on the socket, unless there is one. `start` calls it.

        To serve with several processes, call it before `fork()`, and `start` in each child.
        """
    def do_read(self) -> tuple[Any, ...] | None:
        """Block until there is a client; returns the arguments for `handle` as a tuple, or None if there is none
        yet.
        """
    def full(self) -> bool:
        """True if no more clients can be served now: the pool is full."""
    def start_accepting(self) -> None:
        """Start the accepting greenlet."""
    def stop_accepting(self) -> None:
        """Accept no clients for now; new ones wait in the backlog until `start_accepting`."""
    def is_fatal_error(self, ex: BaseException) -> bool:
        """True if the listener can never accept again after this exception."""
    def do_handle(self, *args: Any) -> None:
        """Serve one client, in the way that `spawn` determines."""
    def do_close(self, *args: Any) -> None:
        """Called when a client has been served, however that ended, with the arguments of `handle`."""
    @property
    def started(self) -> bool:
        """True from `start` to `close`."""
    @property
    def closed(self) -> bool:
        """True while there is no socket: before `start` made it, and after `close`."""
    @property
    def server_host(self) -> str | None:
        """The IP address that it is bound to, None for a UNIX socket."""
    @property
    def server_port(self) -> int | None:
        """The port that it is bound to; if 0 was given, the real port once the server is started."""
    def start(self) -> None:
        """Bind, listen, and begin to accept; returns at once. A stopped server can be started again if its listener is
        an address.

        Raises RuntimeError if it is already started, OSError if it cannot bind.
        """
    def close(self) -> None:
        """Stop accepting and close the listener. Clients being served are not affected. Never blocks."""
    def stop(self, timeout: float | Timeout | None = None) -> None:
        """`close()`, then block until the clients being served are finished, at most `timeout` seconds (default:
        `stop_timeout`). After that, greenlets that are in a pool are killed; others are left alone.

        If it is called twice at the same time, the longer time applies. A handler set with `signal.signal` may run in a
        greenlet that serves a client: there, call only `close()`, and let `serve_forever` wait.
        """
    def __enter__(self) -> Self:
        """For `with`: leaving the block stops the server. Entering it does not start it."""
    def __exit__(self, *exc_info: object) -> None: ...
    def serve_forever(self, stop_timeout: float | Timeout | None = None) -> None:
        """Start the server if needed, write to the log where it listens, and block until it is stopped; then
        `stop(stop_timeout)`.

        The log is "gevlite.server", level INFO. A WSGIServer whose log is the default one, standard error, writes it
        there too.

        If an exception ends the wait (KeyboardInterrupt, SystemExit, a Timeout), the server is stopped too.
        """

def name_of(address: object, scheme: str = "") -> str:
    """For people, what `getsockname` returns: 127.0.0.1:80, [::1]:80, or unix:/path, which never has a scheme."""

def parse_address(address: _Address) -> tuple[int | None, Any]:
    """`(family, address)` for `bind`, from a server's listener argument; `(None, fd)` for `"fd://N"`.

    Raises TypeError or ValueError if it is not an address.
    """

def bound_socket(
    family: int,
    address: Any,
    kind: int,
    reuse_addr: int | None = None,
    reuse_port: bool = False,
    mode: int | None = None,
) -> _Socket:
    """A gevlite socket bound to `address`; a UNIX socket's file gets `mode`. Raises OSError that names the address."""
