"""An old name of `gevlite.resolver.thread`."""

from gevlite.resolver.thread import Resolver

__all__ = ["Resolver"]
