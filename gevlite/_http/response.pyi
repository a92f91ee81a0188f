"""WSGI's responses: `start_response`, `write`, and what an application returns.

A response is sent in as few pieces as it can be: the head goes out together with the first piece of the body. Apart,
and with delayed acknowledgements on the other side, each request on a kept connection would take 40 ms.
"""

from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import disjoint_base

from gevlite._http.connection import Connection

class FileWrapper:
    """`environ["wsgi.file_wrapper"]`: return one for a file, and it is sent from its current position to its end, or as
    far as Content-Length says.

    What `open(path, "rb")` returns, a regular file on a disk, is sent by sendfile(2). Anything else is read.
    """

    filelike: Any
    blksize: int
    def __init__(self, filelike: Any, blksize: int = 65536) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None:
        """Close the file, if it can be closed."""

@disjoint_base
class Response:
    """What `Handler` does once there is a request. `quick`: no subclass overrides a step, see there."""

    ApplicationError: type[Exception]
    environ: Any
    result: Any
    status: bytes | None
    code: int | None
    response_headers: list[tuple[bytes, bytes]] | None
    provided_date: Any
    provided_content_length: Any
    response_length: int
    headers_sent: bool
    response_use_chunked: bool
    close_connection: bool
    connection_upgraded: bool
    @property
    def connection(self) -> Connection: ...
    def process_result(self) -> None:
        """Send the pieces of `result`."""
    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """PEP 3333: begin the response, and return `write`. The head is sent with the first piece of the body.

        Raises ValueError or TypeError if status or headers are not what HTTP allows, AssertionError on a second call
        without `exc_info`; with `exc_info`, what that holds, if the head was sent already.
        """
    def finalize_headers(self) -> None:
        """Add to `response_headers` the headers that the server gives. Called before the head is sent."""
    def write(self, data: bytes) -> None:
        """Send a piece of the body; before the first one, the head. Blocks while the client takes no more.

        Raises AssertionError if it is more than Content-Length allows; OSError if the client is gone, TimeoutError if it
        is too slow.
        """
