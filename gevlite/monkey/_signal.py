"""`signal`. Handlers need no twin: the interpreter runs them even while a hub polls."""

from gevlite.monkey._engine import patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_signal"]


@patcher
def patch_signal():
    """Make `signal.pause` and `signal.sigwait` cooperative, and let `set_wakeup_fd` share its place with the hub."""
    patch_twin("signal")
