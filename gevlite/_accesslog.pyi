"""The access log: a line for each request, kept in memory and written many at a time.

A request pays only for putting its line together in a block of bytes: no system call, no lock, no object that lives on.
A separate greenlet writes what was collected, a moment later (`DELAY`).

Everything that a client has sent is escaped: it can neither end a line, nor end a quoted text, nor control a terminal.
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
    when there are 64 KiB. If the reader of a pipe does not read for so long that 4 MiB wait, further lines are lost,
    which `lost` counts; requests never block. What clients have sent is escaped: quotes, backslashes, control
    characters and all that is not ASCII.

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
        """Add a text of your own, unchanged. Does not block."""
    def flush(self) -> None:
        """Write what has been collected. Blocks while the reader of a pipe or a terminal takes no more; if a greenlet
        is writing already, returns at once.
        """
    def reopen(self) -> None:
        """Open the file anew, if it was given by its path: the name may refer to another file by now. What was
        collected goes to the old file. If this raises OSError, the log goes on with the old file.
        """
    def close(self) -> None:
        """`flush()`, and close the file if it was given by its path."""
