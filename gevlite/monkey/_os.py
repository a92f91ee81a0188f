"""`os`: pipes and child processes. A fork needs no twin: the core is told of each."""

from gevlite.monkey._engine import get_original, patch_twin, patching
from gevlite.monkey._multiprocessing import wait_in_connections

__all__ = ["patch_os"]


@patching()
def patch_os():
    """Make `os.read`, `os.write` and waiting for a child block only the greenlet that does it, in `subprocess` too."""
    target = patch_twin("os")
    wait_in_connections({name: get_original("os", name) for name in ("read", "write")}, target)
