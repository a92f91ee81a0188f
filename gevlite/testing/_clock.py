"""Time for tests: it stands still while something runs, and jumps when all wait."""

__all__ = ["TimeStandsStill"]


class TimeStandsStill(RuntimeError):
    """Everything waits for a time that does not come. The message says what waits for what."""
