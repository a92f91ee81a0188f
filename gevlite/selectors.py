"""Cooperative selectors: those of the standard `selectors`, built on `gevlite.select`.

They take any descriptor, and several greenlets may wait on the same one. `DefaultSelector` is the best available one,
as in the original.
"""

import selectors as _std

from gevlite import _twin, select as _select

__implements__ = [
    name
    for name in ("EpollSelector", "PollSelector", "SelectSelector")
    if hasattr(_std, name) and (name == "SelectSelector" or hasattr(_select, name.removesuffix("Selector").lower()))
] + ["DefaultSelector"]
__extra__ = ["GeventSelector"]
__imports__ = _twin.take_over(globals(), _std, ["BaseSelector", "EVENT_READ", "EVENT_WRITE", "SelectorKey"])
__all__ = __implements__ + __extra__ + __imports__


class SelectSelector(_std.SelectSelector):
    """Like the original, with `gevlite.select.select`; takes descriptors of any number."""

    _select = staticmethod(_select.select)


DefaultSelector = SelectSelector

if "PollSelector" in __implements__:

    class PollSelector(_std.PollSelector):
        """Like the original, with `gevlite.select.poll`."""

        _selector_cls = _select.poll

    DefaultSelector = PollSelector

if "EpollSelector" in __implements__:

    class EpollSelector(_std.EpollSelector):
        """Like the original, with `gevlite.select.epoll`."""

        _selector_cls = _select.epoll

    DefaultSelector = EpollSelector

# gevent's name for it.
GeventSelector = DefaultSelector
