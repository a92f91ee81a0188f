"""`select` and `selectors`."""

from gevlite.monkey._engine import patch_item, patch_twin, remove_item

__all__ = ["patch_select"]

# Kernel objects that wait by themselves, and the selectors made of them.
_WITHOUT_TWIN = {
    "select": ("devpoll", "epoll", "kevent", "kqueue"),
    "selectors": ("DevpollSelector", "EpollSelector", "KqueueSelector"),
}


def patch_select(aggressive=True):
    """Make `select.select`, `select.poll` and the selectors built on them cooperative.

    `selectors.DefaultSelector` becomes one of those. aggressive: remove `epoll`, `kqueue` and the like, which
    would block, and the selectors made of them.
    """
    import selectors

    target = patch_twin("select")
    # The selectors hold what they call as attributes of their classes. A function must not become a method there.
    patch_item(selectors.SelectSelector, "_select", _static(target.select))
    default = selectors.SelectSelector
    if hasattr(target, "poll") and hasattr(selectors, "PollSelector"):
        patch_item(selectors.PollSelector, "_selector_cls", target.poll)
        default = selectors.PollSelector
    patch_item(selectors, "DefaultSelector", default)
    if aggressive:
        for module in (target, selectors):
            for name in _WITHOUT_TWIN[module.__name__]:
                remove_item(module, name)


_statics = {}


def _static(function):
    # The same one each time: patching twice must change nothing.
    return _statics.setdefault(function, staticmethod(function))
