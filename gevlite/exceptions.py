"""Exceptions that do not belong to a single primitive."""

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "HubDestroyed",
    "InvalidSwitchError",
    "InvalidThreadUseError",
    "LoopExit",
]


class LoopExit(Exception):
    """The main greenlet waits and nothing is left that could ever wake it.

    The message lists the parked greenlets. `hub` is the hub that has nothing left to do.
    """

    @property
    def hub(self):
        """The hub that has nothing left to do; None if the exception was made without one."""
        return self.args[1] if len(self.args) > 1 else None

    def __str__(self):
        return str(self.args[0]) if self.args else ""


class InvalidSwitchError(AssertionError):
    """A greenlet that is parked in a gevlite call was resumed by hand, not by what it waits for."""


class InvalidThreadUseError(RuntimeError):
    """An object was used in an OS thread that it does not belong to."""


class BlockingSwitchOutError(AssertionError):
    """A backend's `poll` made a blocking call of gevlite."""


class HubDestroyed(RuntimeError):
    """A blocking call used an object of a hub that has been destroyed."""


class ConcurrentObjectUseError(AssertionError):
    """Two greenlets waited on a `gevlite.hub.Waiter`, which only one may do. (Any number may wait on a socket.)"""
