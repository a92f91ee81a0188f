"""Faults on demand, for tests: connections that stall, break or trickle, names that cannot be resolved, late greenlets.

Each function here returns a `Fault`. It begins with the `with` block and ends with it; what it did is in its `hits`::

    with faults.sockets(server.address, reset_after=100) as fault:
        fetch()
    assert [hit.what for hit in fault.hits] == ["reset"]

How it works: a connection with a fault goes through a relay, two greenlets that pass the bytes on as the fault says. So
everything is real for the code under test, whichever way it reads: a file of `makefile`, TLS, `select`, a server of
gevlite, a stream of asyncio. A connection that stalls is not readable, and one that is reset gets ECONNRESET from the
kernel. Only what the kernel cannot do is done in the methods of the socket: taking or giving at most so many bytes in
one call.

While no fault is active, no class and no function is replaced.
"""

import operator
import os
import socket as _std
from collections.abc import Iterable
from typing import NamedTuple

from gevlite._core import get_hub
from gevlite.event import Event
from gevlite.greenlet import Greenlet
from gevlite.testing import _relay

__all__ = ["Fault", "Hit", "resolver", "sockets", "spawn"]

# The active faults of every kind, in the order in which they began.
_begun = []


class Hit(NamedTuple):
    """One effect of a fault."""

    #: `refuse`, `delay`, `receive`, `send`, `stall` or `reset`; for a resolver `error`, `delay` or `order`; `late`.
    what: str
    #: The address, the host name, or the function.
    target: object
    #: The number of the connection, look-up or start, among those to which the fault applies: the first is 1.
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
        #: How many connections, look-ups or starts it applied to; with `nth`, also those that were left alone.
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
        _begun.append(self)
        try:
            self._install()
        except BaseException:
            self._over.set()
            _begun.remove(self)
            raise

    def stop(self):
        """End, as the `with` block does; stalled connections go on. Does not block. A second call does nothing."""
        if self.active:
            self._over.set()
            _begun.remove(self)
            self._remove()

    def _install(self):
        raise NotImplementedError

    def _remove(self):
        raise NotImplementedError

    def _next(self):
        """Count one more to which the fault applies: returns its number, or 0 if it is to be left alone."""
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

    address: of the connections: a port, `(host, port)`, the path of a UNIX socket, or None for all. side: "client" for
    those that this process makes with `connect`, "server" for those that it gets from `accept`; the address is that of
    the server. nth: only the nth of these connections, from 1 on, or several, as `range(2, 5)`.

    What happens to them:

    * refuse: connecting fails with ECONNREFUSED. Only for the side of the client.
    * delay: connecting, or accepting, takes so many seconds longer, and respects the socket's time-out. In non-blocking
      mode a connection is made at once, but nothing passes for so long.
    * receive: a call gets at most so many bytes, and no more can be read before these have been.
    * send: a call takes at most so many bytes. For code that does not call the methods of a socket (event loops,
      servers, `sendall`), the kernel's buffer is as small as possible instead.
    * stall_after: so many bytes pass, and then none for `stall_for` seconds; None: until the fault ends.
    * reset_after: so many bytes pass, and then the connection is reset for both sides. On Linux they can still read
      what they had received by then.
    * direction: which bytes `stall_after` and `reset_after` count and hold up: those that the side receives ("receive")
      or those that it sends ("send").

    Times are those of the hub, so they follow a `VirtualClock`. If several faults could apply to a connection, the one
    that began last does.
    """
    return _Sockets(
        address, side, nth, refuse, delay, receive, send, direction, stall_after, stall_for, reset_after
    )  # fmt: skip


def resolver(host=None, *, nth=None, error=None, delay=None, reverse=False, addresses=None):
    """A fault of name resolution in this thread, by gevlite's functions or in a patched program.

    host: for which name or address; None: all. nth: only the nth look-up, from 1 on, or several, as `range(2, 5)`.

    * error: what it raises: an exception, a number such as `socket.EAI_AGAIN` for a gaierror, or True for EAI_NONAME.
    * delay: it takes so many seconds longer, even if it then fails.
    * reverse: `getaddrinfo` and `gethostbyname_ex` give the addresses in the opposite order.
    * addresses: numeric addresses that look-ups of a name give instead of the real ones, in this order; only those of
      IPv4 if the function supports no others.
    """
    return _Resolver(host, nth, error, delay, reverse, addresses)


def spawn(late, *, function=None, nth=None):
    """A fault of starts: a greenlet, or a thread of a patched program, begins `late` seconds after it was started.

    `Thread.start` waits until the thread has begun, so for a thread this call takes so long. function: only those that
    run this function, or a function of this name; None: all. nth: only the nth start, from 1 on, or several, as
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
        raise ValueError(f"{name} is a number of seconds from 0 to a billion, not {value!r}")
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
        if not os.fsdecode(address):
            raise ValueError("address is empty: None is for all")
        return os.fsdecode(address)
    if isinstance(address, bool) or not isinstance(address, int):
        raise TypeError(f"address is a port, (host, port) or the path of a UNIX socket, not {address!r}")
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
        if stall_for is not None and stall_after is None:
            raise ValueError("stall_for needs stall_after")
        others = [one is not None for one in (delay, receive, send, stall_after, reset_after)]
        if not any(others) and not refuse:
            raise ValueError("no fault: give refuse, delay, receive, send, stall_after or reset_after")
        if refuse and (any(others) or side == "server"):
            raise ValueError("refuse is for the side of the client, and nothing else can happen to such a connection")
        if direction == "send" and stall_after is None and reset_after is None:
            raise ValueError("direction is for stall_after and reset_after, and neither is given")
        self.connections = []

    def __repr__(self):
        return f"<fault of {self.side} sockets, address {self.address!r}, {len(self.hits)} hits>"

    def _install(self):
        _relay.active.append(self)
        if len(_relay.active) == 1:
            _relay.hooks.install()

    def _remove(self):
        _relay.active.remove(self)
        for connection in self.connections:
            connection.fault_is_over()
        self.connections.clear()
        if not _relay.active:
            _relay.hooks.remove()

    @property
    def _needs_relay(self):
        return self.receive is not None or self.stall_after is not None or self.reset_after is not None

    def is_for(self, side, family, *addresses):
        """Whether the fault applies to a connection of that side. addresses: all addresses of the connection."""
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
        while isinstance(outermost, _FaultyResolver):  # a later one may go through this one
            if outermost._inner is self.outer:
                outermost._inner = self.outer._inner
            outermost = outermost._inner
        self.outer = None

    def before(self, name):
        """A look-up begins: returns its number if the fault applies to it, else 0. Raises the error."""
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
            raise self.error()
        return number


def _check_error(error):
    """A function that makes the exception to raise; None for none."""
    if error is None or error is False:
        return None
    if isinstance(error, BaseException):
        return lambda: error.with_traceback(None)
    if isinstance(error, type) and issubclass(error, BaseException):
        try:
            error()
        except Exception as exc:
            text = f"error: {error.__name__} cannot be made without arguments ({exc}): give an instance"
            raise TypeError(text) from None
        return error
    try:
        number = _std.EAI_NONAME if error is True else operator.index(error)
    except TypeError:
        raise TypeError(f"error is an exception, a number such as socket.EAI_AGAIN, or True, not {error!r}") from None
    text = _ERRORS.get(number, f"error {number} of name resolution")
    return lambda: _std.gaierror(number, text)


def _check_addresses(addresses):
    if addresses is None:
        return None
    if isinstance(addresses, (str, bytes)) or not isinstance(addresses, Iterable):
        raise TypeError(f"addresses is a list of numeric addresses, not {addresses!r}")
    found = list(addresses)
    for one in found:
        try:
            _std.inet_pton(_family_of(one), one)
        except (OSError, TypeError):
            raise ValueError(f"not a numeric address: {one!r}") from None
    if not found:
        raise ValueError("addresses is empty: for a name without one, give error=socket.EAI_NONAME")
    return found


def _family_of(address):
    return _std.AF_INET6 if ":" in address else _std.AF_INET


def _no_name():
    return _std.gaierror(_std.EAI_NONAME, _ERRORS[_std.EAI_NONAME])


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
            if fault.addresses and family not in (0, _family_of(name)):
                continue
            found += self._inner.getaddrinfo(name, port, family, type, proto, flags)
        if not found:
            raise _no_name()
        return self._in_order(host, number, found)

    def gethostbyname(self, hostname):
        number = self._fault.before(hostname)
        if number and self._fault.addresses:
            return self._in_order(hostname, number, self._given())[0]
        return self._inner.gethostbyname(hostname)

    def gethostbyname_ex(self, hostname):
        number = self._fault.before(hostname)
        if number and self._fault.addresses:
            name = os.fsdecode(hostname) if isinstance(hostname, (bytes, bytearray)) else hostname
            return name, [], self._in_order(hostname, number, self._given())
        name, aliases, found = self._inner.gethostbyname_ex(hostname)
        return name, aliases, self._in_order(hostname, number, found) if number and self._fault.reverse else found

    def _given(self):
        """The addresses that these two functions can return: they support only IPv4."""
        found = [one for one in self._fault.addresses if _family_of(one) == _std.AF_INET]
        if not found:
            raise _no_name()
        return found

    def _in_order(self, hostname, number, found):
        self._fault._hit("order", hostname, number)
        return found[::-1] if self._fault.reverse else found

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
        if isinstance(greenlet, _relay.Relay):
            return
        function = _function_of(greenlet)
        wanted = self.function
        if isinstance(wanted, str):
            name = getattr(function, "__qualname__", "")
            if wanted not in (name, name.rpartition("<locals>.")[2], getattr(function, "__name__", "")):
                return
        elif wanted is not None and wanted not in (function, getattr(function, "__func__", None)):
            return
        number = self._next()
        if number and greenlet._put_off(self.late):
            self._hit("late", function, number)


def _function_of(greenlet):
    """The function that it runs, or the one that its thread runs."""
    thread = getattr(greenlet, "_thread", None)
    if thread is not None:
        return getattr(thread, "_target", None) or thread.run
    return greenlet._run
