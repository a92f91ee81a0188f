"""`os`: pipes and child processes. A fork needs no twin: the core is told of each."""

from gevlite.monkey._engine import patch_twin, patching

__all__ = ["patch_os"]


@patching()
def patch_os():
    """Make `os.read`, `os.write` and waiting for a child block only the greenlet that does it, in `subprocess` too."""
    patch_twin("os")
