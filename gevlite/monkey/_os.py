"""`os`: waiting for child processes. A fork needs no twin: the core is told of each."""

from gevlite.monkey._engine import patch_twin

__all__ = ["patch_os"]


def patch_os():
    """Make `os.waitpid` and what is built on it, such as `subprocess.Popen.wait`, block only the calling greenlet."""
    patch_twin("os")
