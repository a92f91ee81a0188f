"""`builtins`: input."""

from gevlite.monkey._engine import patch_twin
from gevlite.monkey._patching import patching

__all__ = ["patch_builtins"]


@patching()
def patch_builtins():
    """Make `input` block only the calling greenlet."""
    patch_twin("builtins")
