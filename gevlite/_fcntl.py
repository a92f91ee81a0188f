"""`fcntl.fcntl` that reads and sets the blocking mode of a gevlite socket as its user sees it.

The descriptor itself always stays in non-blocking mode. See `gevlite.os.set_blocking`.
"""

import fcntl as _std
from os import O_NONBLOCK as _O_NONBLOCK

from gevlite import _twin
from gevlite._socketio import mode_of as _mode_of, set_mode as _set_mode

__target__ = "fcntl"
__implements__ = ["fcntl"]
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside(__implements__, _std))
__all__ = __implements__ + __imports__

_fcntl = _std.fcntl


def fcntl(fd, cmd, arg=0, /):
    """Like `fcntl.fcntl`. For a gevlite socket, O_NONBLOCK shows and sets the mode that its user has chosen."""
    if cmd != _std.F_GETFL and cmd != _std.F_SETFL:
        return _fcntl(fd, cmd, arg)
    number = fd if isinstance(fd, int) else fd.fileno() if hasattr(fd, "fileno") else -1
    mode = _mode_of(number)
    if mode is None:
        return _fcntl(fd, cmd, arg)
    if cmd == _std.F_GETFL:
        flags = _fcntl(fd, cmd)
        return flags & ~_O_NONBLOCK if mode else flags
    result = _fcntl(fd, cmd, arg | _O_NONBLOCK)
    blocking = not arg & _O_NONBLOCK
    if blocking is not mode:
        _set_mode(number, blocking)
    return result
