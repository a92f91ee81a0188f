"""The common part of all resolvers that ask name servers themselves: everything but the asking.

The system's own getaddrinfo and getnameinfo check the arguments, and answer numeric addresses, services and wildcards.
With AI_NUMERICHOST or NI_NUMERICHOST they ask no name server, so errors and results are the original's. Names in
/etc/hosts come first, as in most systems' nsswitch.conf(5); then a subclass asks.
"""

import _socket
import operator
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    AI_CANONNAME,
    AI_NUMERICHOST,
    EAI_AGAIN,
    EAI_FAIL,
    EAI_NONAME,
    NI_NAMEREQD,
    NI_NUMERICHOST,
    SOCK_DGRAM,
    gaierror,
    herror,
)

from gevlite._core import get_hub
from gevlite.greenlet import spawn
from gevlite.resolver._hosts import Hosts

AI_ALL = getattr(_socket, "AI_ALL", 0)
AI_V4MAPPED = getattr(_socket, "AI_V4MAPPED", 0)
NI_NOFQDN = getattr(_socket, "NI_NOFQDN", 0)
EAI_NODATA = getattr(_socket, "EAI_NODATA", EAI_NONAME)

# glibc's messages (gai_strerror(3)); those of herror are from hstrerror(3), its numbers from netdb.h.
_TEXTS = {
    EAI_AGAIN: "Temporary failure in name resolution",
    EAI_FAIL: "Non-recoverable failure in name resolution",
    EAI_NODATA: "No address associated with hostname",
    EAI_NONAME: "Name or service not known",
}
_HERRORS = {
    EAI_AGAIN: (2, "Host name lookup failure"),
    EAI_FAIL: (3, "Unknown server error"),
    EAI_NODATA: (4, "No address associated with name"),
    EAI_NONAME: (1, "Unknown host"),
}


# If there are two errors, the more informative one is raised; in this order.
_WEIGHT = (EAI_AGAIN, EAI_FAIL, EAI_NODATA, EAI_NONAME)


def _weight(error):
    # A third-party resolver may raise any gaierror.
    return _WEIGHT.index(error.errno) if error.errno in _WEIGHT else len(_WEIGHT)


def lookup_error(code):
    """The gaierror for EAI_NONAME, EAI_NODATA, EAI_AGAIN or EAI_FAIL."""
    return gaierror(code, _TEXTS[code])


def best_first(addresses):
    """Sort: reachable addresses first, and IPv6 before IPv4: the most important rules of RFC 6724."""
    if len(addresses) < 2:
        return addresses
    return sorted(addresses, key=lambda address: (not _has_route(address), ":" not in address))


def _has_route(address):
    try:
        probe = _socket.socket(AF_INET6 if ":" in address else AF_INET, SOCK_DGRAM)
    except OSError:
        return False  # a system without IPv6
    try:
        return probe.connect_ex((address, 53)) == 0  # on a datagram socket, this sends nothing
    finally:
        probe.close()


class AbstractResolver:
    """A subclass defines `ask` and `reverse`; they block, and raise `lookup_error(code)`."""

    def __init__(self, hub=None):
        self.hub = hub if hub is not None else get_hub()
        self.hosts = Hosts()

    def close(self):
        """Release the resolver's resources. Its waiters get gaierror(EAI_AGAIN)."""

    def ask(self, name, family):
        """Ask for the addresses (AF_INET or AF_INET6) of `name`, which is ASCII.

        Returns `(canonical name, aliases, addresses)`, all of them strings.
        """
        raise NotImplementedError

    def reverse(self, address):
        """Ask for the names of an IPv4 or IPv6 address; return `(canonical name, aliases)`."""
        raise NotImplementedError

    # -------- the functions of the socket module

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        """As `socket.getaddrinfo`, with plain numbers in the result."""
        try:
            return _socket.getaddrinfo(host, port, family, type, proto, flags | AI_NUMERICHOST)
        except gaierror as exc:
            if exc.errno != EAI_NONAME or flags & AI_NUMERICHOST or not _is_name(host):
                raise
        canonical, _, addresses = self._find(host, family, flags)
        numeric = flags & ~AI_CANONNAME | AI_NUMERICHOST
        found = []
        for address in addresses:
            found += _socket.getaddrinfo(address, port, family, type, proto, numeric)
        if flags & AI_CANONNAME:
            found[0] = (*found[0][:3], canonical, found[0][4])
        return found

    def gethostbyname(self, hostname, family=AF_INET):
        """As `socket.gethostbyname`; family may also be AF_INET6."""
        host = _checked(hostname, _socket.gethostbyname)
        if host in _WILDCARDS:
            return _socket.gethostbyname(host)
        return self.getaddrinfo(host, None, family, SOCK_DGRAM)[0][4][0]

    def gethostbyname_ex(self, hostname, family=AF_INET):
        """As `socket.gethostbyname_ex`; family may also be AF_INET6."""
        host = _checked(hostname, _socket.gethostbyname_ex)
        if host in _WILDCARDS:
            raise herror(*_HERRORS[EAI_FAIL])
        if _is_name(host):
            return self._find(host, family, 0)
        address = _socket.getaddrinfo(host, None, family, SOCK_DGRAM, 0, AI_NUMERICHOST)[0][4][0]
        return host if isinstance(host, str) else host.decode("ascii"), [], [address]

    def gethostbyaddr(self, ip_address):
        """As `socket.gethostbyaddr`."""
        host = _checked(ip_address, _socket.gethostbyaddr)
        if not host:
            return _socket.gethostbyaddr(host)  # raises: the wildcard is many addresses
        if host in _WILDCARDS:
            host = _socket.gethostbyname(host)
        address = self.getaddrinfo(host, None, AF_UNSPEC, SOCK_DGRAM)[0][4][0]
        try:
            name, aliases = self._names(address)
        except gaierror as exc:
            raise herror(*_HERRORS.get(exc.errno, _HERRORS[EAI_FAIL])) from None
        return name, aliases, [address]

    def getnameinfo(self, sockaddr, flags):
        """As `socket.getnameinfo`."""
        flags = operator.index(flags)
        if flags & NI_NUMERICHOST:
            return _socket.getnameinfo(sockaddr, flags)
        address, service = _socket.getnameinfo(sockaddr, flags & ~NI_NAMEREQD | NI_NUMERICHOST)
        try:
            name = self._names(address)[0]
        except gaierror as exc:
            if exc.errno == EAI_AGAIN:
                raise
            if flags & NI_NAMEREQD:
                raise lookup_error(EAI_NONAME) from None
            return address, service
        if flags & NI_NOFQDN:
            name = name.removesuffix("." + _socket.gethostname().partition(".")[2])
        return name, service

    # -------- what they have in common

    def _find(self, host, family, flags):
        """`(canonical name, aliases, addresses)` of a host that is not an address."""
        if isinstance(host, str):
            host = host.encode("idna")
        try:
            name = host.decode("ascii")
        except UnicodeDecodeError:
            raise lookup_error(EAI_NONAME) from None
        families = (AF_INET6, AF_INET) if family == AF_UNSPEC else (family,)
        mapped = family == AF_INET6 and flags & AI_V4MAPPED
        if mapped:
            families = (AF_INET6, AF_INET)
        canonical, aliases, addresses = self._known(name, families) or self._ask_all(name, families)
        if mapped:
            own = [address for address in addresses if ":" in address]
            if flags & AI_ALL or not own:
                own += ["::ffff:" + address for address in addresses if ":" not in address]
            addresses = own
        return canonical, aliases, addresses

    def _ask_all(self, name, families):
        """`ask` for each family, at the same time. An error is raised only if there is no answer at all."""
        others = [spawn(_outcome, self.ask, name, family) for family in families[1:]]
        try:
            outcomes = [_outcome(self.ask, name, families[0]), *(other.get() for other in others)]
        finally:
            for other in others:
                other.kill(block=False)
        answers = [answer for answer, _ in outcomes if answer is not None]
        if not answers:
            raise min((error for _, error in outcomes), key=_weight)
        canonical, aliases, _ = answers[0]
        return canonical, aliases, best_first([address for _, _, known in answers for address in known])

    def _known(self, name, families):
        """The result from the hosts file, or None. `localhost` is never looked up (RFC 6761)."""
        known = self.hosts.by_name(name, families)
        if known is not None:
            return (*known[:2], best_first(known[2]))
        if name.rstrip(".").lower() != "localhost":
            return None
        if self.hosts.by_name(name, (AF_INET, AF_INET6)):
            raise lookup_error(EAI_NONAME)  # it has no address of this family
        return "localhost", [], [{AF_INET: "127.0.0.1", AF_INET6: "::1"}[family] for family in families]

    def _names(self, address):
        address = address.partition("%")[0]
        return self.hosts.by_address(address) or self.reverse(address)

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__qualname__} of {self.hub!r}>"


# Other arguments that gethostbyname accepts besides names and addresses.
_WILDCARDS = ("", b"", "<broadcast>", b"<broadcast>")


def _outcome(function, *args):
    """`(result, error)`."""
    try:
        return function(*args), None
    except gaierror as exc:
        return None, exc


def _checked(hostname, original):
    if not isinstance(hostname, (str, bytes, bytearray)) or ("\0" if isinstance(hostname, str) else 0) in hostname:
        original(hostname)  # raises TypeError
    return bytes(hostname) if isinstance(hostname, bytearray) else hostname


def _is_name(host):
    """False for a numeric address of any family, or a string that can only be meant as one."""
    if not host or any(mark in host for mark in ((":", "%", "\0") if isinstance(host, str) else (b":", b"%", b"\0"))):
        return False
    try:
        _socket.getaddrinfo(host, None, 0, SOCK_DGRAM, 0, AI_NUMERICHOST)
    except gaierror:
        return True
    return False
