"""The transport of TCP and UNIX streams for the loop of `gevlite.asyncio`.

Like a socket of gevlite, it is registered with the hub once, edge-triggered (see "Descriptors" in docs/design.md):
reading and writing cost one system call each, and the registration need not be changed in between. The data of one
`recv` goes to the protocol, in the loop's greenlet; then others have their turn.
"""

from asyncio import BaseProtocol, Future
from collections.abc import Iterable, Mapping
from contextvars import Context
from socket import socket
from typing import Any, ClassVar

from typing_extensions import disjoint_base

from gevlite._aio import Io, LoopCore, TransportCore

@disjoint_base
class Side(Io):
    """One direction of a transport."""

@disjoint_base
class SocketTransport(TransportCore):
    """A connected stream socket in a loop. It counts as asyncio's `Transport`."""

    max_size: ClassVar[int]
    def __init__(
        self,
        loop: LoopCore,
        sock: socket,
        protocol: BaseProtocol,
        waiter: Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> None: ...
    def is_reading(self) -> bool:
        """True if it receives data."""
    def pause_reading(self) -> None:
        """Receive nothing until `resume_reading`."""
    def resume_reading(self) -> None:
        """Receive again."""
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes: what the kernel takes at once, the rest as it can. Never blocks."""
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of the pieces, in one system call if the kernel takes them. Never blocks."""
    def can_write_eof(self) -> bool:
        """True: `write_eof` works."""
    def write_eof(self) -> None:
        """Send the end of file after what was written. Reading goes on."""
    def get_write_buffer_size(self) -> int:
        """How many bytes the kernel has not taken yet."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """`(low, high)`, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Above `high` bytes the protocol's `pause_writing` is called, at `low` its `resume_writing`."""
    def close(self) -> None:
        """Send what was written, then close. Never blocks; `connection_lost` is called when it is closed."""
    def abort(self) -> None:
        """Close now: what the kernel has not taken is lost."""
    def is_closing(self) -> bool:
        """True once it is closed, or about to be."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known about the connection: "socket", "sockname", "peername" and what the protocols add."""
    def set_protocol(self, protocol: BaseProtocol) -> None:
        """Have `protocol` receive the data from now on."""
    def get_protocol(self) -> BaseProtocol:
        """The protocol that receives the data."""
    def __del__(self) -> None: ...
