"""gevent's module of this name: the channel of c-ares, here the one of pycares.

To look up names, use `gevlite.resolver.ares`.
"""

from pycares import Channel as channel

__all__ = ["channel"]
