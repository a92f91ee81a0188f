"""Bytes from one client and to it: a buffer to read into, and time limits.

Memory. Everything is read into one block of 64 KiB, which a connection has only while it works on its contents. While
it waits for more it keeps only the bytes that it has got so far, which for an idle connection are none.

Time. A response that the client takes slowly may take as long as it keeps up a minimum rate: the time spent waiting is
compared with the bytes that moved.
"""

from typing import Any

from typing_extensions import disjoint_base

from gevlite._http.settings import Settings

@disjoint_base
class Transport:
    """One client's socket."""
    @property
    def sock(self) -> Any: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def waiting(self) -> bool: ...
    def stop_waiting(self) -> None:
        """End the wait for a request, the rest of its head, or the end of data that is not wanted.

        The waiting greenlet closes the socket.
        """

@disjoint_base
class Reader:
    """The bytes that come from a client, as a file. For code that takes the connection over and speaks another
    protocol.

    Each call blocks as long as the socket's time-out allows, and then raises TimeoutError.
    """
    def __init__(self, connection: Transport) -> None: ...
    @property
    def connection(self) -> Transport: ...
    @property
    def raw(self) -> Reader:
        """This object: there is one layer only."""
    @property
    def closed(self) -> bool:
        """True once the connection is."""
    def close(self) -> None:
        """Does nothing; the socket is closed by its server."""
    def fileno(self) -> int:
        """The socket's descriptor."""
    def readable(self) -> bool:
        """True."""
    def read(self, size: int | None = -1, /) -> bytes:
        """Read exactly `size` bytes, fewer only at the end; with -1 or None, all until the end."""
    def read1(self, size: int = -1, /) -> bytes:
        """Read what has come, at most `size` bytes; b"" only at the end."""
    def readinto(self, buffer: Any, /) -> int:
        """Read some bytes into `buffer`; returns how many, 0 at the end."""
    def readline(self, size: int | None = -1, /) -> bytes:
        """Up to and with the next line feed, at most `size` bytes."""
