"""Python frames for tools that look at frames or wait for calls: compiled code has none.

This module contains only functions that must be interpreted.
"""

__all__ = ["hub_frame", "switched"]


def hub_frame(run):
    """Runs the hub's loop.

    If a thread is in its hub, tools find this frame: py-spy, faulthandler, a signal handler, or a debugger that
    attaches to an idle process.
    """
    return run()


def switched():
    """Does nothing. Called when a greenlet continues after a switch, if there is a tracer or profiler to notice it."""
