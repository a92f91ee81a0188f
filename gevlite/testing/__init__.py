"""For tests of code with time-outs, retries and races: without waiting, and without luck."""

from gevlite.testing._clock import TimeStandsStill

__all__ = ["TimeStandsStill"]
