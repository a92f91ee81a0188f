"""`os` and `fcntl`: pipes, child processes, locks of files. A fork needs no twin: a hook of the core handles it."""

from gevlite.monkey._engine import patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_os"]


@patcher
def patch_os():
    """Make `os.read`, `os.write` and waiting for a child block only the calling greenlet, also inside `subprocess`.

    They and `fcntl.fcntl` see the blocking mode that the user of a gevlite socket has set. Waiting for the lock of a
    file, as in `fcntl.flock`, blocks only the calling greenlet too.
    """
    patch_twin("os")
    patch_twin("_fcntl")
