"""The access log: a line for each request, kept in memory and written many at a time.

A request pays for having its line put together in a block of bytes, and no more: no system call, no lock, no object
that lives on. What was collected is written by a greenlet of its own, a moment later (`DELAY`).

Whatever a client has sent is escaped: it can neither end a line, nor a quoted text, nor speak to a terminal.
"""

import os
from typing import Protocol, TypeAlias

from typing_extensions import disjoint_base

DELAY: float
FORMATS: dict[str, str]

class _Writes(Protocol):
    def write(self, text: str, /) -> object: ...

_Target: TypeAlias = str | os.PathLike[str] | int | _Writes

@disjoint_base
class AccessLog:
    """A log for `WSGIServer(log=...)` with a line for each request.

    target: the path of a file, to which is appended; a descriptor; or an object with `write(text)`.
    format: "combined" (Apache's), "common", "json", "terminal" (short and coloured), or a text with gunicorn's atoms,
    such as `'%(h)s "%(r)s" %(s)s %(D)s'`.

    Lines are written together, a tenth of a second after the first of them, by a greenlet; a file is written to at once
    when there are 64 KiB. Whoever does not read a pipe for so long that 4 MiB wait loses lines, which `lost` counts,
    and never blocks. What clients have sent is escaped: quotes, backslashes, control characters and all that is not
    ASCII.

    Raises OSError if the file cannot be opened, TypeError or ValueError for what is no target or no format.
    """
    @property
    def target(self) -> _Target: ...
    @property
    def format(self) -> str: ...
    @property
    def lost(self) -> int: ...
    def __init__(self, target: _Target, format: str = "combined") -> None: ...
    def write(self, text: str) -> None:
        """Add a text of your own, as it is. Does not block."""
    def flush(self) -> None:
        """Write what has been collected. Blocks while whoever reads a pipe or a terminal takes no more; if a greenlet
        does that already, returns at once.
        """
    def reopen(self) -> None:
        """Open the file anew, if it was given by its path: its name may stand for another file by now. What was
        collected goes to the old one. Raises OSError, and goes on with the old one then.
        """
    def close(self) -> None:
        """`flush()`, and close the file if it was given by its path."""
