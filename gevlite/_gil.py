"""Free-threaded builds of Python (PEP 703): gevlite needs the GIL. Import this before any compiled module.

Hubs of different threads share lists, counters and descriptors that only the GIL guards (`_shared.pxi`). No module of
gevlite declares that it works without the GIL, so the interpreter turns the GIL on when it loads the first one. Its
warning explains how to keep the GIL off, which would be wrong here; so the warning is suppressed.
"""

import sys
import warnings

__all__ = ["FREE_THREADED", "is_on", "state"]

FREE_THREADED = "t" in getattr(sys, "abiflags", "")


def is_on():
    return not FREE_THREADED or sys._is_gil_enabled()


def state():
    """What `gevlite info` says about the GIL."""
    if not is_on():
        return "kept off by PYTHON_GIL=0 or -X gil=0: gevlite is not safe without it"
    return "on, because gevlite needs it; this is a free-threaded build" if FREE_THREADED else "on"


if not is_on():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The global interpreter lock", RuntimeWarning)
        from gevlite import _backend  # noqa: F401
    if not is_on():
        warnings.warn("gevlite is not safe with PYTHON_GIL=0 or -X gil=0: it needs the GIL", RuntimeWarning, 2)
