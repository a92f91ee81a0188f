"""`socket.makefile`: files like the original's, which greenlets may share. The layers are those of a FileObject."""

import io
import socket as _std

from gevlite._fileio import Deferral
from gevlite._layers import layers


class SocketRaw(_std.SocketIO):
    """The raw file below a buffer. It has `deferral` and `unread`, as `_fileio` requires of raw files."""

    def __init__(self, sock, mode):
        super().__init__(sock, mode)
        self.deferral = Deferral()
        self._unread = b""

    def readinto(self, buffer):
        """Block until there is data; return the number of bytes. 0: the end. None: no data, in non-blocking mode."""
        try:
            if not self._unread:
                return super().readinto(buffer)
            with memoryview(buffer) as view, view.cast("B") as octets:
                data = self._unread[: len(octets)]
                self._unread = self._unread[len(data) :]
                octets[: len(data)] = data
                return len(data)
        except BaseException as exc:
            if not self.deferral.keep(exc):
                raise
            return None

    def unread(self, data):
        """Put `data`, which was read last, back: the next read returns it."""
        self._unread = data + self._unread


def makefile(sock, mode, buffering, encoding, errors, newline):
    """See `socket.makefile`. Raises ValueError for an invalid mode or buffering."""
    if not set(mode) <= {"r", "w", "b"}:
        raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
    writing = "w" in mode
    reading = "r" in mode or not writing
    text = None
    if "b" not in mode:
        if buffering == 0:
            raise ValueError("unbuffered streams must be binary")
        text = (io.text_encoding(encoding, 3), errors, newline)
        io.TextIOWrapper(io.BytesIO(), *text)  # checks the arguments
    elif buffering == 0:
        return _raw(_std.SocketIO, sock, reading * "r" + writing * "w")
    reader = _raw(SocketRaw, sock, "r") if reading else None
    writer = _raw(SocketRaw, sock, "w") if writing else None
    size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
    made = layers(reader, writer, size, text, close_waits=True)
    if text is not None:
        made.mode = mode
    return made


def _raw(kind, sock, mode):
    raw = kind(sock, mode)
    sock._io_refs += 1  # the descriptor stays open until the raw file is closed
    return raw
