"""What `time.time()`, `time.monotonic()`, `datetime.now()` and their kin return in a thread with a virtual clock.

Most code holds these functions themselves (`from time import monotonic`), the standard library too. So what is replaced
is not the names, but the implementation of the functions: each is described by a PyMethodDef, to which all references
lead (see `_method_swap.h`). In threads without a virtual clock, and in other interpreters, they do what they always
did.
"""

__all__ = ["begin", "end"]

def begin() -> None:
    """From now on the functions check whether their thread has a virtual clock. For each `begin()` call `end()`."""

def end() -> None:
    """Take back one `begin()`. After the last one the functions are as they were."""
