"""`os`: pipes and child processes. A fork needs no twin: the core is told of each."""

from gevlite.monkey._engine import get_original, patch_twin
from gevlite.monkey._multiprocessing import wait_in_connections
from gevlite.monkey._patching import patching

__all__ = ["patch_os"]


@patching()
def patch_os():
    """Make `os.read`, `os.write` and waiting for a child block only the greenlet that does it, in `subprocess` too.

    The mode of a gevlite socket, blocking or not, is what its user has made of it, for `fcntl.fcntl` too.
    """
    target = patch_twin("os")
    patch_twin("_fcntl")
    wait_in_connections({name: get_original("os", name) for name in ("read", "write")}, target)
