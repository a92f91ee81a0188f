"""DNS with c-ares (https://c-ares.org) through pycares: no threads; the hub watches c-ares's sockets.

c-ares says which descriptors it waits for and for how long, and is called when one is ready or the time is over. All of
this happens in the hub's thread: the event thread that c-ares offers would cost a switch between threads for each
answer.

c-ares cannot cancel a single look-up. When the last waiter is gone, all look-ups that are still running are cancelled.
"""

import functools
import os
import weakref
from _socket import AF_INET, AF_INET6, EAI_AGAIN, EAI_FAIL, EAI_NONAME
from ipaddress import ip_address

import pycares
from pycares import ARES_SOCKET_BAD, errno as status

from gevlite._config import config
from gevlite._core import READ, WRITE, FdWatch, Uninterrupted, Waiter, get_hub_if_exists
from gevlite.resolver._abstract import EAI_NODATA, AbstractResolver, lookup_error

__all__ = ["Resolver"]

ENV_PREFIX = "GEVLITE_ARES_"


def _list(text):
    return [part.strip() for part in text.split(",") if part.strip()]


# Options of pycares.Channel that the environment may set.
_FROM_ENVIRONMENT = {"servers": _list, "domains": _list, "timeout": float, "tries": int, "ndots": int}

_CODES = {
    status.ARES_ENOTFOUND: EAI_NONAME,
    status.ARES_EBADNAME: EAI_NONAME,
    status.ARES_ENODATA: EAI_NODATA,
    status.ARES_ESERVFAIL: EAI_AGAIN,
    status.ARES_EREFUSED: EAI_AGAIN,
    status.ARES_ECONNREFUSED: EAI_AGAIN,
    status.ARES_ETIMEOUT: EAI_AGAIN,
    status.ARES_ECANCELLED: EAI_AGAIN,
    status.ARES_EDESTRUCTION: EAI_AGAIN,
}

_TYPES = {AF_INET: pycares.QUERY_TYPE_A, AF_INET6: pycares.QUERY_TYPE_AAAA}


# pycares is Python code: at the end of a time slice another greenlet might close the channel in the middle of a call.
_WHOLE = Uninterrupted()


class Resolver(AbstractResolver):
    """Asks the name servers of /etc/resolv.conf, or those given as an option.

    options: those of `pycares.Channel`: servers, timeout (seconds), tries, ndots, domains, ... With `use_environ`,
    options that are not given are taken from GEVLITE_ARES_SERVERS and the like.
    """

    def __init__(self, hub=None, use_environ=True, **options):
        super().__init__(hub)
        if use_environ:
            options = {**_gevent_settings(), **_environment(), **options}
        self._options = options
        self._open()
        _resolvers.add(self)

    def _open(self):
        self._asked = set()  # waiters whose look-up c-ares has not answered, also of greenlets that are gone
        self._waiters = set()
        self._watches = {}  # by descriptor
        self._timer = None
        me = weakref.ref(self)  # the channel keeps the function alive, and the garbage collector does not see c-ares

        def socket_state(fd, readable, writable):
            resolver = me()
            if resolver is not None:
                resolver._socket_state(fd, readable, writable)

        # "b": not the hosts file, which has already been searched.
        try:
            self._channel = pycares.Channel(sock_state_cb=socket_state, lookups="b", **self._options)
        except pycares.AresError as exc:
            raise ValueError(f"c-ares cannot be used with {self._options}: {exc.args[-1]}") from None

    def close(self):
        """Close the sockets. Running and later look-ups raise gaierror(EAI_AGAIN)."""
        if self._channel is None:
            return
        with _WHOLE:
            self._channel.cancel()
            self._let_go()

    def _let_go(self):
        channel, self._channel = self._channel, None
        self._set_timer()
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.stop()
        channel.close()
        return watches

    def ask(self, name, family):
        records = self._ask("search", name, _TYPES[family]).answer
        aliases = [record.name for record in records if record.type == pycares.QUERY_TYPE_CNAME]
        known = [record for record in records if record.type == _TYPES[family]]
        if not known:
            raise lookup_error(EAI_NODATA)
        return known[0].name, aliases, [record.data.addr for record in known]

    def reverse(self, address):
        # Not c-ares's own gethostbyaddr, which reports every failure as "not found".
        records = self._ask("query", ip_address(address).reverse_pointer, pycares.QUERY_TYPE_PTR).answer
        names = [record.data.dname for record in records if record.type == pycares.QUERY_TYPE_PTR]
        if not names:
            raise lookup_error(EAI_NODATA)
        return names[0], names[1:]

    def _ask(self, function, *args):
        waiter = Waiter(self.hub)

        asked = self._asked

        def answered(result, code):
            asked.discard(waiter)
            waiter.wake((result, code))

        with _WHOLE:
            self._start(function, args, waiter, answered)
        try:
            result, code = waiter.park()
        finally:
            self._waiters.discard(waiter)
            with _WHOLE:
                if self._asked and not self._waiters and self._channel is not None:
                    self._channel.cancel()
                    self._set_timer()
        if code is not None:
            raise lookup_error(_CODES.get(code, EAI_FAIL))
        return result

    def _start(self, function, args, waiter, answered):
        if self._channel is None:
            raise lookup_error(EAI_AGAIN)
        self._asked.add(waiter)
        try:
            getattr(self._channel, function)(*args, callback=answered)
        except pycares.AresError as exc:
            # An invalid name, refused before anything is sent. (c-ares may also call back; and it says "out of memory"
            # for a name that it cannot put into a query.)
            self._asked.discard(waiter)
            raise lookup_error(_CODES.get(exc.args[0], EAI_NONAME)) from None
        except BaseException:
            self._asked.discard(waiter)
            raise
        self._waiters.add(waiter)
        self._set_timer()

    # -------- c-ares's sockets and time-outs

    def _socket_state(self, fd, readable, writable):
        if get_hub_if_exists() is not self.hub:
            return  # pycares destroys a closed channel in a thread of its own
        watch = self._watches.pop(fd, None)
        if watch is not None:
            watch.stop()
        events = (READ if readable else 0) | (WRITE if writable else 0)
        if events and self._channel is not None:
            self._watches[fd] = watch = FdWatch(self.hub, fd, events, functools.partial(self._ready, fd))
            watch.start()

    def _ready(self, fd, events):
        if self._channel is None:
            return
        self._channel.process_fd(fd if events & READ else ARES_SOCKET_BAD, fd if events & WRITE else ARES_SOCKET_BAD)
        watch = self._watches.get(fd)
        if watch is not None:
            watch.start()  # for the next report
        self._set_timer()

    def _set_timer(self):
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._asked and self._channel is not None:
            self._timer = self.hub.call_later(max(self._channel.timeout(), 0.001), self._time_out)

    def _time_out(self):
        self._timer = None
        if self._channel is None:
            return
        self._channel.process_fd(ARES_SOCKET_BAD, ARES_SOCKET_BAD)
        self._set_timer()

    # -------- fork

    def _after_fork(self):
        """The parent continues to use the sockets that both have; the child makes its own."""
        if self._channel is None:
            return
        waiters = self._waiters
        self._asked = set()
        for fd in self._let_go():
            os.close(fd)  # nothing destroys the channel in the child, where pycares's thread does not exist
        self._open()
        for waiter in waiters:
            waiter.wake((None, status.ARES_ECANCELLED))


def _gevent_settings():
    """`gevlite.config.ares_servers` and the like, which gevent's variables can set."""
    names = ("servers", "timeout", "tries", "ndots", "flags", "udp_port", "tcp_port")
    found = {name: getattr(config, f"ares_{name}") for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _environment():
    found = {}
    for name, convert in _FROM_ENVIRONMENT.items():
        variable = ENV_PREFIX + name.upper()
        text = os.environ.get(variable, "").strip()
        if text:
            try:
                found[name] = convert(text)
            except ValueError:
                raise ValueError(f"{variable} must be a number, not {text!r}") from None
    return found


_resolvers: weakref.WeakSet[Resolver] = weakref.WeakSet()


def _after_fork_in_child():
    for resolver in list(_resolvers):
        if resolver.hub is get_hub_if_exists():
            resolver._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
