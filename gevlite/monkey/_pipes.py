"""The pipes of processes that were started before patching.

They are buffered files of the standard library. Such an object can be made anew in its place, over another raw file:
whoever holds it, a TextIOWrapper around it for instance, has the new one. What it had read and not given out comes
first. A pipe without a buffer is a raw file, which cannot be changed; it is exchanged in its Popen object, unless
it is also held elsewhere.
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
# No one else may be in the middle of a call on one that we change.
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
    """Those of the objects of the class `kind` and the classes derived from it."""
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
    """The standard library's own file on which `file` stands; None if it has none, or is closed."""
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
        return "an OS thread that runs may be using it"
    if type(file) is io.FileIO and sys.getrefcount(file) > _REFERENCES + (attributes[name] is file):
        return "it has no buffer, and is held elsewhere too"
    return ""


def _spare():
    """How many references `_reason` sees, called as above, to a file that only `pipes` has."""

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
    """Let it block only the calling greenlet. True if that worked."""
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
            data = file.peek()  # what it has; or else what there is
        else:
            file.flush()
    except OSError:  # nobody takes what it still has
        return False
    finally:
        os.set_blocking(fd, blocking)
    twin = PollRaw(fd, raw.mode, raw.closefd, raw)
    twin.unread(data)
    file.__init__(twin)
    attributes = vars(pipe.popen)
    if attributes[pipe.name] is file:
        # Which lets greenlets use it at once, as threads could.
        attributes[pipe.name] = SharedBuffer(file)
    return True
