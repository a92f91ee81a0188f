"""`time`: sleep."""

from gevlite.monkey._engine import patch_twin

__all__ = ["patch_time"]


def patch_time():
    """Make `time.sleep` block only the greenlet that calls it."""
    patch_twin("time")
