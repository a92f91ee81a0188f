"""Cooperative `time.sleep`; everything else in `time` is unchanged."""

__implements__: list[str]
__imports__: list[str]

def sleep(seconds: float = 0, ref: bool = True) -> None:
    """Block the current greenlet for `seconds` (a number); others run meanwhile. 0 gives way to greenlets that are
    ready.

    Exact to the clock where the kernel allows, never early. With `ref=False` the sleeper does not keep the loop alive.
    Raises ValueError for a negative time, as `time.sleep` does.
    """

# Last, because type checkers keep the first of two definitions.
from time import *  # type: ignore[assignment]  # noqa: E402, F403
