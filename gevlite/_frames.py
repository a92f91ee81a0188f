"""Python frames, where the code is compiled and has none, for tools that look at frames or wait for calls.

Only what must be interpreted stands here.
"""

__all__ = ["hub_frame", "switched"]


def hub_frame(run):
    """Runs the hub's loop.

    This frame is what anybody finds who looks at a thread that is in its hub: py-spy, faulthandler, a signal handler, a
    debugger that attaches to the process while nothing happens in it.
    """
    return run()


def switched():
    """Does nothing: called where a greenlet goes on after a switch, if a tracer or profiler is there to hear of it."""
