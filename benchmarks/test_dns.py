"""Looking up numeric addresses and localhost: the cost of a look-up besides waiting for a name server."""

import importlib
import socket

from benchmarks.case import ASYNC, BLOCKING, GREEN, Case

AT_ONCE = 100

dns_numeric = Case("dns_numeric", "getaddrinfo of an address in digits", n=10_000)
dns_localhost = Case("dns_localhost", "getaddrinfo of localhost, one after the other", n=1_000)
at_once = {
    name: Case(
        f"dns_at_once_{name}",
        f"getaddrinfo of localhost, {AT_ONCE} at once, {name}",
        n=20,
        per=AT_ONCE,
        quick=name == "thread",
    )
    for name in ("thread", "dnspython", "ares")
}


def getaddrinfo(lib, host):
    return lib.socket.getaddrinfo(host, 80, socket.AF_INET, socket.SOCK_STREAM)


@dns_numeric.on(*BLOCKING)
def _(lib, n):
    for _ in range(n):
        getaddrinfo(lib, "127.0.0.1")


@dns_numeric.on(*ASYNC)
async def _(lib, n):
    import asyncio

    loop = asyncio.get_running_loop()
    for _ in range(n):
        await loop.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET, type=socket.SOCK_STREAM)


@dns_localhost.on(*BLOCKING)
def _(lib, n):
    for _ in range(n):
        getaddrinfo(lib, "localhost")


@dns_localhost.on(*ASYNC)
async def _(lib, n):
    import asyncio

    loop = asyncio.get_running_loop()
    for _ in range(n):
        await loop.getaddrinfo("localhost", 80, family=socket.AF_INET, type=socket.SOCK_STREAM)


def many(resolver):
    """The body for one kind of resolver."""

    def body(lib, n):
        if lib.name in GREEN:
            hub = lib.get_hub()
            module = importlib.import_module(f"{lib.name}.resolver.{resolver}")
            if type(getattr(hub, "resolver", None)) is not module.Resolver:
                hub.resolver = module.Resolver(hub)
        for _ in range(n):
            lib.joinall([lib.spawn(getaddrinfo, lib, "localhost") for _ in range(AT_ONCE)], raise_error=True)

    return body


for _name, _case in at_once.items():
    # eventlet uses dnspython if it is installed; "threads" is what programs without a "thread" resolver have to write.
    _case.on(*GREEN, *{"thread": ("threads",), "dnspython": ("eventlet",)}.get(_name, ()))(many(_name))


@at_once["thread"].on(*ASYNC)
async def _(lib, n):
    import asyncio

    loop = asyncio.get_running_loop()
    options = {"family": socket.AF_INET, "type": socket.SOCK_STREAM}
    for _ in range(n):
        await asyncio.gather(*[loop.getaddrinfo("localhost", 80, **options) for _ in range(AT_ONCE)])


def test_dns_numeric(bench, lib):
    bench(dns_numeric, lib)


def test_dns_localhost(bench, lib):
    bench(dns_localhost, lib)


def test_dns_at_once_thread(bench, lib):
    bench(at_once["thread"], lib)


def test_dns_at_once_dnspython(bench, lib):
    bench(at_once["dnspython"], lib)


def test_dns_at_once_ares(bench, lib):
    bench(at_once["ares"], lib)
