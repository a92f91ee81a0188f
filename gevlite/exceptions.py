"""Exceptions that belong to no single primitive."""

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

    The message names what is parked. `hub` is the hub that ran out of work.
    """

    @property
    def hub(self):
        return self.args[1] if len(self.args) > 1 else None

    def __str__(self):
        return str(self.args[0]) if self.args else ""


class InvalidSwitchError(AssertionError):
    """A greenlet parked in a gevlite call was switched into by hand instead of being woken by what it waits for."""


class InvalidThreadUseError(RuntimeError):
    """Something was used in another OS thread than the one it belongs to."""


class BlockingSwitchOutError(AssertionError):
    """A backend's `poll` made a blocking call of gevlite."""


class HubDestroyed(RuntimeError):
    """A blocking call used something that belongs to a hub which has been destroyed."""


class ConcurrentObjectUseError(AssertionError):
    """Two greenlets waited on what only one may wait on, a `gevlite.hub.Waiter`. A socket may have any number."""
