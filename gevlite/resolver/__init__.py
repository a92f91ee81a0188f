"""Name resolution that does not block the hub, and the one place where a hub's resolver is chosen.

`hub.resolver` has the five functions of the socket module: getaddrinfo, gethostbyname, gethostbyname_ex, gethostbyaddr
and getnameinfo. `gevlite.config.resolver`, or else GEVLITE_RESOLVER, selects it for a hub that has none yet:

* a name: `thread` (the system's resolver, in threads; the default), `block` (the same, but it blocks the hub),
  `dnspython` or `ares` (DNS without threads; each needs a package);
* a comma-separated list in order of preference, of which the first usable one is used: `ares,dnspython,thread`;
* `module:Class`, a class of your own, which is called with the hub.
"""

from gevlite._choice import Choice
from gevlite._config import Config, config
from gevlite.resolver._abstract import AbstractResolver, lookup_error

__all__ = ["AbstractResolver", "ResolverError", "available", "choose", "lookup_error", "names"]

BUILT_IN = {
    "thread": "gevlite.resolver.thread:Resolver",
    "block": "gevlite.resolver.blocking:Resolver",
    "dnspython": "gevlite.resolver.dnspython:Resolver",
    "ares": "gevlite.resolver.ares:Resolver",
}
EXTRAS = ("dnspython", "ares")
FUNCTIONS = ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")


class ResolverError(RuntimeError):
    """The chosen resolver does not exist or cannot be used here. The message lists the usable ones."""


def names():
    """The names of the built-in resolvers."""
    return list(BUILT_IN)


def available():
    """`{name: None, or the reason why it cannot be used}` for every built-in resolver."""
    return {name: _choice.problem(_load, name) for name in BUILT_IN}


_choice = Choice("resolver", ResolverError, available)


def choose(wanted=None, source="the argument"):
    """The class of the resolver for a new hub.

    `wanted` is a class, a name, an order of preference (a string or a sequence) or `module:Class`; None means the value
    of `gevlite.config.resolver`. source: where `wanted` comes from, for the message of ResolverError, which lists the
    usable ones.
    """
    if wanted is None:
        source = Config.resolver.source(config)
        wanted = config.resolver
    if isinstance(wanted, type):
        return _checked(wanted, wanted.__name__)
    return _choice.first(_choice.in_order(wanted, source), _load, f"{source} cannot be used")


def _load(name):
    if name not in BUILT_IN and "." in name and ":" not in name:  # gevent's form: package.module.Class
        name = ":".join(name.rpartition(".")[::2])
        name = "gevlite." + name.removeprefix("gevent.") if name.startswith("gevent.") else name
    target = name if ":" in name else BUILT_IN.get(name)
    if target is None:
        raise ResolverError(f"there is no resolver {name!r}")
    remedy = f" (pip install 'gevlite[{name}]')" if name in EXTRAS else ""
    return _checked(_choice.imported(target, name, lambda exc: f": {exc}{remedy}"), name)


def _checked(cls, name):
    missing = [function for function in FUNCTIONS if not callable(getattr(cls, function, None))]
    if missing:
        raise ResolverError(f"{name} is not a resolver: {cls!r} has no {', '.join(missing)}")
    return cls
