"""`time`: sleep."""

from gevlite.monkey._engine import patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_time"]


@patcher
def patch_time():
    """Make `time.sleep` block only the calling greenlet."""
    patch_twin("time")
