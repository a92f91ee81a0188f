"""HTTP/1.0 and 1.1 on one connection, the server's side: heads and bodies of requests in, bytes out.

Which part decides what. Our code walks: it finds the end of a line, of the head, of a chunk, enforces limits and times,
and slices the fields out of the bytes in place. llhttp, by way of `httptools`, judges: it is fed exactly the bytes that
were walked over, never one more, and its refusal is final. Both determine where a message ends, and a connection on
which they differ is given up: such differences make request smuggling possible. On top come the rules that llhttp
leaves to others; each names its RFC. (9110: HTTP semantics. 9112: HTTP/1.1.) A head that llhttp refuses and we
understand, for a method that it does not know, say, is given to it again in other words that mean the same; with
`Settings.strict` its refusal counts.

Time. A head has a deadline, since it should come at once. A body may take as long as it keeps up a minimum rate.
"""

from typing import Any

from typing_extensions import disjoint_base

from gevlite._http.settings import Settings
from gevlite._http.transport import Transport

@disjoint_base
class Connection(Transport):
    """One client. sock: a connected socket. rfile: where to read instead, a file with `read1`."""

    trusted: bool
    def __init__(self, sock: Any, settings: Settings, rfile: Any = None) -> None: ...
    @property
    def trailers(self) -> list[tuple[str, str]] | None: ...
    def release(self) -> None:
        """Free memory; nothing is read any more."""
    @property
    def served(self) -> int: ...
    def close_if_idle(self, served: int = -1) -> None:
        """End the wait for a request, unless one more than `served` have come; the waiting greenlet closes the socket.

        A request that the client has sent by now is still served.
        """
    def take_line(self) -> bytes:
        """Block until there is a line, and take it: for code that reads ahead of the head. b"" if none comes.

        Raises RequestError if it is longer than a request line may be, or takes too long.
        """
    def put_back(self, line: bytes) -> None:
        """Have these bytes read again."""
