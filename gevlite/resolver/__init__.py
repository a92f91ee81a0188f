"""Name resolution that does not stop the hub. `hub.resolver` answers; by default it asks in worker threads."""

from gevlite._core import register_hub_attribute

__all__ = ["make_resolver"]


def make_resolver(hub):
    """The resolver for a hub."""
    from gevlite.resolver.thread import Resolver

    return Resolver(hub)


register_hub_attribute("resolver", make_resolver)
