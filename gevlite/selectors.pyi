"""Cooperative selectors: those of the standard `selectors`, built on `gevlite.select`.

They take any descriptor, and several greenlets may wait on the same one. `DefaultSelector` is the best available one,
as in the original.
"""

import selectors as _std
import sys

__implements__: list[str]
__imports__: list[str]
__extra__: list[str]

class SelectSelector(_std.SelectSelector):
    """Like the original, with `gevlite.select.select`; takes descriptors of any number."""

class PollSelector(_std.PollSelector):
    """Like the original, with `gevlite.select.poll`."""

if sys.platform == "linux":
    class EpollSelector(_std.EpollSelector):
        """Like the original, with `gevlite.select.epoll`."""

    DefaultSelector = EpollSelector
else:
    DefaultSelector = PollSelector

GeventSelector = DefaultSelector

# Last, because type checkers keep the first of two definitions.
from selectors import *  # type: ignore[assignment]  # noqa: E402, F403
