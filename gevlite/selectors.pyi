import selectors as _std
import sys

__implements__: list[str]
__imports__: list[str]
__extra__: list[str]

class SelectSelector(_std.SelectSelector): ...
class PollSelector(_std.PollSelector): ...

if sys.platform == "linux":
    class EpollSelector(_std.EpollSelector): ...
    DefaultSelector = EpollSelector
else:
    DefaultSelector = PollSelector

GeventSelector = DefaultSelector

# Last, because type checkers keep the first of two definitions.
from selectors import *  # type: ignore[assignment]  # noqa: E402, F403
