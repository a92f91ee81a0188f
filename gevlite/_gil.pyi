"""Free-threaded builds of Python (PEP 703): gevlite needs the GIL. Import this before any compiled module.

Hubs of different threads share lists, counters and descriptors that only the GIL guards (`_shared.pxi`). No module of
gevlite declares that it works without the GIL, so the interpreter turns the GIL on when it loads the first one. Its
warning explains how to keep the GIL off, which would be wrong here; so the warning is suppressed.
"""

__all__ = ["FREE_THREADED", "is_on", "state"]

FREE_THREADED: bool

def is_on() -> bool: ...
def state() -> str:
    """What `gevlite info` says about the GIL."""
