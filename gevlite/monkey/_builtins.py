"""`builtins`: input."""

from gevlite.monkey._engine import patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_builtins"]


@patcher
def patch_builtins():
    """Make `input` block only the calling greenlet."""
    patch_twin("builtins")
