import selectors as _std
import sys
from selectors import *  # noqa: F403

__implements__: list[str]
__imports__: list[str]

class SelectSelector(_std.SelectSelector): ...  # type: ignore[no-redef]
class PollSelector(_std.PollSelector): ...  # type: ignore[no-redef]

if sys.platform == "linux":
    class EpollSelector(_std.EpollSelector): ...  # type: ignore[no-redef]
    DefaultSelector = EpollSelector  # type: ignore[assignment,misc]
else:
    DefaultSelector = PollSelector  # type: ignore[assignment,misc]
