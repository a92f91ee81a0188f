"""DNS with dnspython (https://www.dnspython.org) over gevlite's sockets: no threads, and nothing has to be patched.

dnspython's asynchronous resolver does its I/O through a backend. The coroutines of the backend here never suspend: each
call blocks only its greenlet and then returns. So one step of the coroutine does the whole look-up.
"""

from _socket import AF_INET, AF_INET6, EAI_AGAIN, EAI_FAIL, EAI_NONAME

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from gevlite._config import config
from gevlite._core import Uninterrupted, sleep
from gevlite.resolver._abstract import EAI_NODATA, AbstractResolver, lookup_error
from gevlite.socket import socket

__all__ = ["Resolver"]

# Errors for strings that cannot be a name.
_NO_NAMES = (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel, dns.name.BadEscape)
_TYPES = {AF_INET: dns.rdatatype.A, AF_INET6: dns.rdatatype.AAAA}

# dnspython imports the class of a record type when it meets the first such record; a finalizer cannot import anything.
for _type in ("A", "AAAA", "CNAME", "PTR", "SOA"):
    dns.rdata.get_rdata_class(dns.rdataclass.IN, dns.rdatatype.from_text(_type))


class Resolver(AbstractResolver):
    """Asks the name servers of /etc/resolv.conf.

    `resolver` is dnspython's, with its settings: nameservers, lifetime (seconds), cache, ...
    """

    def __init__(self, hub=None):
        super().__init__(hub)
        try:
            self.resolver = dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            self.resolver = dns.asyncresolver.Resolver(configure=False)
            self.resolver.nameservers = ["127.0.0.1"]  # the default of resolv.conf(5)
        if config.resolver_nameservers:
            self.resolver.nameservers = config.resolver_nameservers
        if config.resolver_timeout:
            self.resolver.lifetime = config.resolver_timeout

    def ask(self, name, family):
        answer = self._ask(self.resolver.resolve, name, _TYPES[family], search=True)
        aliases = [_text(alias.name) for alias in answer.chaining_result.cnames]
        return _text(answer.canonical_name), aliases, [record.address for record in answer]

    def reverse(self, address):
        answer = self._ask(self.resolver.resolve_address, address, search=False)
        names = [_text(record.target) for record in answer]
        return names[0], names[1:]

    def _ask(self, question, *args, **options):
        try:
            return _run(question(*args, backend=_BACKEND, **options))
        except (dns.resolver.NXDOMAIN, *_NO_NAMES):
            raise lookup_error(EAI_NONAME) from None
        except dns.resolver.NoAnswer:
            raise lookup_error(EAI_NODATA) from None
        except (dns.exception.Timeout, dns.resolver.NoNameservers):
            raise lookup_error(EAI_AGAIN) from None
        except dns.exception.DNSException as exc:
            raise lookup_error(EAI_FAIL) from exc


def _text(name):
    return name.to_text(omit_final_dot=True)


# ---------------------------------------------------------------- dnspython's input and output


def _run(coroutine):
    try:
        # dnspython has locks. If they are not patched, a greenlet that waits for one keeps its holder from running.
        with Uninterrupted():
            coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("dnspython awaits an object that is not from gevlite's backend")


class _Socket(dns.asyncbackend.Socket):
    """Both of dnspython's kinds, datagram and stream."""

    def __init__(self, sock):
        super().__init__(sock.family, sock.type)
        self._sock = sock

    def _limited(self, timeout, operation, *args):
        self._sock.settimeout(timeout if timeout is None else max(timeout, 1e-6))
        try:
            return operation(*args)
        except TimeoutError:
            raise dns.exception.Timeout(timeout=timeout) from None

    async def sendto(self, what, destination, timeout):
        return self._limited(timeout, self._sock.send, what)

    async def recvfrom(self, size, timeout):
        return self._limited(timeout, self._sock.recvfrom, size)

    async def sendall(self, what, timeout):
        return self._limited(timeout, self._sock.sendall, what)

    async def recv(self, size, timeout):
        return self._limited(timeout, self._sock.recv, size)

    async def getpeername(self):
        return self._sock.getpeername()

    async def getsockname(self):
        return self._sock.getsockname()

    async def close(self):
        self._sock.close()


class _Backend(dns.asyncbackend.Backend):
    def name(self):
        return "gevlite"

    def datagram_connection_required(self):
        return True  # so that a port without a listener is an error, and not a time-out

    async def make_socket(
        self, af, socktype, proto=0, source=None, destination=None, timeout=None, ssl_context=None, server_hostname=None
    ):
        if ssl_context is not None:
            raise NotImplementedError("DNS over TLS")
        made = _Socket(socket(af, socktype, proto))
        try:
            if source is not None:
                made._sock.bind(source)
            made._limited(timeout, made._sock.connect, destination)
            return made
        except BaseException:
            made._sock.close()
            raise

    async def sleep(self, interval):
        sleep(interval)


_BACKEND = _Backend()
