"""gevent's module of this name: the channel of c-ares, which here is that of pycares.

To look up names, use `gevlite.resolver.ares`.
"""

from pycares import Channel as channel

__all__ = ["channel"]
