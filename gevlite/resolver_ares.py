"""An old name of `gevlite.resolver.ares`."""

from gevlite.resolver.ares import Resolver

__all__ = ["Resolver"]
