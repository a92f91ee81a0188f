"""What `time.time()`, `time.monotonic()`, `datetime.now()` and their kin return in a thread with a virtual clock.

Most code holds these functions themselves (`from time import monotonic`), the standard library too. So not names are
replaced, but what the functions do: each is described by a PyMethodDef, to which all references lead (see
`_method_swap.h`). In threads that have no virtual clock, and in other interpreters, they do what they always did.
"""

__all__ = ["begin", "end"]

def begin() -> None:
    """The functions look from now on whether their thread has a virtual clock. For each `begin()` call `end()`."""

def end() -> None:
    """Take back one `begin()`. After the last one the functions are as they were."""
