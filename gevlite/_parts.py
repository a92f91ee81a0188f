"""What the layers above give to a hub: its class, which backend it gets, `hub.loop`, `hub.threadpool`, `hub.resolver`.

The core knows none of them. It is told by `register()`, called when gevlite itself is imported, and not by each module
when that is: a module may be imported late or, with lazy imports (PEP 810), only when something in it is used. Each
part is made when it is first asked for. Of the pool and the resolver only who uses them pays for the import; the others
have been imported already, so that they can be made in a finalizer at the end of the interpreter too.
"""

from gevlite import backends, hub as _hub, loop as _loop
from gevlite._core import register_hub_attribute, set_backend_chooser, set_hub_class

__all__ = ["register"]


def register() -> None:
    """Tell the core."""
    set_hub_class(_make_hub)
    set_backend_chooser(_choose_backend)
    register_hub_attribute("loop", _make_loop)
    register_hub_attribute("threadpool", _make_threadpool)
    register_hub_attribute("resolver", _make_resolver)


def _make_hub():
    return _hub.Hub()


def _choose_backend(wanted=None):
    return backends.choose(wanted)


def _make_loop(hub):
    return getattr(hub, "loop_class", _loop.Loop)(hub)


def _make_threadpool(hub):
    from gevlite.threadpool import make_hub_pool

    return make_hub_pool(hub)


def _make_resolver(hub):
    found = getattr(hub, "resolver_class", None)
    if found is None:  # a hub of the core's own class
        from gevlite.resolver import choose

        found = choose()
    return found(hub)
