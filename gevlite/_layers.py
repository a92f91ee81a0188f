"""The layers on top of raw files that cannot seek: a pipe, a terminal, a socket. See `_fileio` for the reasons.

There is one raw file for each direction. The one for reading keeps what an interrupted read leaves to the next read.
"""

import io

from gevlite._fileio import SharedBuffer, TextReader

# They have the interface, without being derived from the class.
io.BufferedIOBase.register(SharedBuffer)
io.TextIOBase.register(TextReader)


class TextWriter(io.TextIOWrapper):
    """For files that cannot seek, with `write_through`: so it holds no text that an interrupted write would lose.

    It needs no lock: when it calls the buffer's `write`, its own work is done.
    """

    def close(self):
        self.buffer.close()  # only once: if that is interrupted, there is no second attempt


class _BothWays:
    """A reader and a writer as one file. Reading and writing do not wait for each other."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        for side, names in ((reader, self._OF_READER), (writer, self._OF_WRITER)):
            for name in names:
                setattr(self, name, getattr(side, name))

    def __getattr__(self, name):
        if name in ("reader", "writer"):
            raise AttributeError(name)
        return getattr(self.reader, name)

    def fileno(self):
        return self.reader.fileno()

    def isatty(self):
        return self.reader.isatty()

    @property
    def closed(self):
        return self.reader.closed

    def close(self):
        try:
            self.writer.close()
        finally:
            self.reader.close()

    def __repr__(self):
        return f"<{type(self).__name__} {self.reader!r} {self.writer!r}>"


class Duplex(_BothWays, io.BufferedIOBase):
    """Both directions, of bytes."""

    _OF_READER = ("peek", "read", "read1", "readable", "readinto", "readinto1", "readline", "readlines")
    _OF_WRITER = ("flush", "writable", "write", "writelines")


class TextDuplex(_BothWays, io.TextIOBase):
    """Both directions, of text."""

    _OF_READER = ("read", "readable", "readline", "readlines")
    _OF_WRITER = ("flush", "writable", "write", "writelines")

    def __init__(self, reader, writer):
        super().__init__(reader, writer)
        self.buffer = Duplex(reader.buffer, writer.buffer)

    @property
    def encoding(self):
        return self.reader.encoding

    @property
    def errors(self):
        return self.reader.errors

    @property
    def newlines(self):
        return self.reader.newlines

    @property
    def line_buffering(self):
        return self.writer.line_buffering


def layers(reader, writer, size, text=None, line_buffering=False, close_waits=False):
    """The file object on top of one or two raw files; either may be None.

    size: of the buffers; 0: no buffer for writing. text: `(encoding, errors, newline)`, or None for bytes.
    close_waits: see `SharedBuffer`.
    """
    if reader is not None:
        reader = SharedBuffer(io.BufferedReader(reader, size or io.DEFAULT_BUFFER_SIZE), close_waits)
        if text is not None:
            reader = TextReader(reader, *text)
    if writer is not None:
        if size:
            writer = SharedBuffer(io.BufferedWriter(writer, size))
        if text is not None:
            writer = TextWriter(writer, *text, line_buffering, write_through=True)
    if reader is None or writer is None:
        return reader if writer is None else writer
    return (Duplex if text is None else TextDuplex)(reader, writer)
