"""`contextvars`: nothing to replace, because each greenlet has a context of its own."""

from gevlite.monkey._engine import patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_contextvars"]


@patcher
def patch_contextvars():
    """For code written for gevent: does nothing, see `gevlite.contextvars`."""
    patch_twin("contextvars")
