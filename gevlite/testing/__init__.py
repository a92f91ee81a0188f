"""For tests of code with time-outs, retries and races: without waiting, and without luck."""

from gevlite.testing._clock import TimeStandsStill, VirtualClock
from gevlite.testing._explore import Explored, ScheduleFailed, Step, explore
from gevlite.testing._shuffle import shuffled

__all__ = ["Explored", "ScheduleFailed", "Step", "TimeStandsStill", "VirtualClock", "explore", "shuffled"]
