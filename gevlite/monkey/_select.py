"""`select` and `selectors`."""

from gevlite.monkey._engine import adopt, patch_item, patch_twin, remove_item
from gevlite.monkey._libraries import prefer_python_waits
from gevlite.monkey._patching import patcher

__all__ = ["patch_select"]

# Kernel objects that wait by themselves and have no twin, and the selectors that use them.
_WITHOUT_TWIN = {"select": ("devpoll", "kevent", "kqueue"), "selectors": ("DevpollSelector", "KqueueSelector")}


@patcher
def patch_select(aggressive=True):
    """Make `select.select`, `select.poll`, `select.epoll` and the selectors built on them cooperative.

    The classes of `selectors` stay, so those that were imported before become cooperative too. aggressive: remove
    `kqueue` and the like, which would block, and the selectors that use them.
    """
    import selectors

    from gevlite import select, selectors as source

    target = patch_twin("select")
    adopt("select.poll objects", select.adopt_poll)
    if hasattr(select, "epoll"):
        adopt("select.epoll objects", select.adopt_epoll)
    # The function that a selector calls is an attribute of its class. The twin's function works in the original too.
    names = [name for name in source.__implements__ if name != "DefaultSelector"]
    for name in names:
        original, twin = getattr(selectors, name), getattr(source, name)
        for attribute in ("_select", "_selector_cls"):
            if attribute in vars(twin):
                patch_item(original, attribute, vars(twin)[attribute])
    if selectors.DefaultSelector.__name__ not in names:
        patch_item(selectors, "DefaultSelector", source.DefaultSelector)
    if aggressive:
        for module in (target, selectors):
            for name in _WITHOUT_TWIN[module.__name__]:
                remove_item(module, name)
    prefer_python_waits()
