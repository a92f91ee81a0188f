"""Builds of Python that can do without the GIL (PEP 703): gevlite needs it. To be imported before what is compiled.

Hubs of different threads share lists, counters and descriptors that nothing else guards (`_shared.pxi`). No module of
gevlite declares that it can do without the GIL, so the interpreter turns it on when it loads the first one, with a
warning that also tells how to keep it off. That advice would be wrong here.
"""

import sys
import warnings

__all__ = ["FREE_THREADED", "is_on", "state"]

FREE_THREADED = "t" in getattr(sys, "abiflags", "")


def is_on():
    return not FREE_THREADED or sys._is_gil_enabled()


def state():
    """What `gevlite info` says of it."""
    if not is_on():
        return "off, kept so by PYTHON_GIL=0 or -X gil=0: gevlite is not safe without it"
    return "on, since gevlite needs it; this build can do without" if FREE_THREADED else "on"


if not is_on():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The global interpreter lock", RuntimeWarning)
        from gevlite import _backend  # noqa: F401
    if not is_on():
        warnings.warn("gevlite is not safe with PYTHON_GIL=0 or -X gil=0: it needs the GIL", RuntimeWarning, 2)
