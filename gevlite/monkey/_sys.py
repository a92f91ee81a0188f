"""`sys`: the standard streams."""

import atexit
import sys

from gevlite.monkey._engine import on_unpatch, patch_item
from gevlite.monkey._patching import patcher

__all__ = ["patch_sys"]


@patcher
def patch_sys(stdin=True, stdout=True, stderr=True):
    """Make `sys.stdin`, `sys.stdout` and `sys.stderr` block only the greenlet that reads or writes.

    `patch_all` does this only with `sys=True`, because `print` may then let other greenlets run, which a program may
    not expect. A stream that is not the process's own, or is closed, is not changed. Data already in the buffer of
    `sys.stdin` stays there: patch before anything is read.
    """
    for name, wanted in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
        stream = getattr(sys, name)
        if wanted and stream is not None and stream is getattr(sys, f"__{name}__") and not stream.closed:
            _patch(name, stream)


def _patch(name, stream):
    from gevlite.fileobject import FileObject

    # Like the interpreter's own streams, whose descriptors must stay open; newlines are not translated.
    options = {"encoding": stream.encoding, "errors": stream.errors, "newline": "\n", "closefd": False}
    if name == "stdin":
        patch_item(sys, name, FileObject(stream, "r", **options).io)
        return
    buffering = 1 if stream.line_buffering else 0 if stream.write_through else -1
    twin = FileObject(stream, "w", buffering, **options).io
    patch_item(sys, name, twin)
    # The interpreter also flushes at its end, but then no greenlet can wait any more.
    atexit.register(twin.flush)

    @on_unpatch
    def undo():
        twin.flush()
        atexit.unregister(twin.flush)
