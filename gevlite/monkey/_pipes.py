"""The pipes of processes that were started before patching.

They are buffered files of the standard library. Such an object can be initialised again, over another raw file, so that
all references to it, for instance that of a TextIOWrapper, stay valid. Data left in its buffer is read first. A pipe
without a buffer is a raw file, which cannot be changed; it is replaced in its Popen object, unless other code also
holds it.
"""

import _thread
import gc
import io
import os
import sys
from typing import NamedTuple

from gevlite._fileio import SharedBuffer
from gevlite._rawfile import PollRaw
from gevlite._workers import count_workers

__all__ = ["Pipe", "pipes", "repair"]

_NAMES = ("stdin", "stdout", "stderr")
# No other thread may be in the middle of a call on a file that is changed.
_os_threads = _thread._count


class Pipe(NamedTuple):
    """A pipe of a Popen object that blocks the whole thread."""

    popen: object
    name: str
    file: object  # the buffered file, or the raw one if there is none
    reason: str  # why it cannot be repaired; "" if it can

    def __str__(self):
        return f"{self.name} of {object.__repr__(self.popen)} ({self.reason})"


def pipes(kind):
    """The pipes of all objects of the class `kind` and of classes derived from it."""
    classes = [kind]
    for cls in classes:
        classes += type.__subclasses__(cls)
    wanted = set(map(id, classes))
    popens = [thing for thing in gc.get_objects() if id(type(thing)) in wanted]
    found = []
    for popen in popens:
        attributes = object.__getattribute__(popen, "__dict__")
        for name in _NAMES:
            file = _innermost(attributes.get(name))
            if file is not None:
                reason = _reason(attributes, name, file)
                found.append(Pipe(popen, name, file, reason))
    return found


def _innermost(file):
    """The standard library's own file below `file`; None if there is none, or it is closed."""
    try:
        if type(file) is io.TextIOWrapper:
            file = file.buffer
        if type(file) in (io.BufferedReader, io.BufferedWriter):
            return file if type(file.raw) is io.FileIO and not file.closed else None
        return file if type(file) is io.FileIO and not file.closed else None
    except ValueError:  # detached
        return None


def _reason(attributes, name, file):
    if _os_threads() > count_workers():
        return "a running OS thread may be using it"
    if type(file) is io.FileIO and sys.getrefcount(file) > _REFERENCES + (attributes[name] is file):
        return "it has no buffer, and other code also holds it"
    return ""


def _spare():
    """How many references `_reason`, called as above, counts to a file that only `pipes` holds."""

    class Probe:
        pass

    def reason(attributes, name, file):
        return sys.getrefcount(file)

    def innermost(file):
        return file

    attributes = {"name": Probe()}
    file = innermost(attributes.get("name"))
    return reason(attributes, "name", file) - 1


_REFERENCES = _spare()


def repair(pipe):
    """Make it block only the calling greenlet. True if that succeeded."""
    file = pipe.file
    if type(file) is io.FileIO:
        from gevlite.fileobject import FileObject

        vars(pipe.popen)[pipe.name] = FileObject(file, file.mode, 0).io
        return True
    raw = file.raw
    data = b""
    fd = raw.fileno()
    blocking = os.get_blocking(fd)
    os.set_blocking(fd, False)
    try:
        if type(file) is io.BufferedReader:
            data = file.peek()  # the buffered data, or data from the pipe
        else:
            file.flush()
    except OSError:  # the reader of its buffered data is gone
        return False
    finally:
        os.set_blocking(fd, blocking)
    twin = PollRaw(fd, raw.mode, raw.closefd, raw)
    twin.unread(data)
    file.__init__(twin)
    attributes = vars(pipe.popen)
    if attributes[pipe.name] is file:
        # Now greenlets can use it at the same time, as threads could.
        attributes[pipe.name] = SharedBuffer(file)
    return True
