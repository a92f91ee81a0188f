"""The parts of a hub that higher layers provide: its class, its backend, `hub.loop`, `hub.threadpool`, `hub.resolver`.

The core knows none of them. `register()` registers them with the core when gevlite itself is imported. The modules do
not register themselves, because a module may be imported late or, with lazy imports (PEP 810), only when something in
it is used. Each part is made at its first use. The modules of the pool and the resolver are imported only then; the
others are imported before, so that their parts can also be made in a finalizer at the end of the interpreter.
"""

from gevlite import backends, hub as _hub, loop as _loop
from gevlite._core import register_hub_attribute, set_backend_chooser, set_hub_class

__all__ = ["register"]


def register() -> None:
    """Register the parts with the core."""
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
