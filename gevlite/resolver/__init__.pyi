from gevlite._core import Hub
from gevlite.resolver.thread import Resolver

__all__ = ["make_resolver"]

def make_resolver(hub: Hub) -> Resolver: ...
