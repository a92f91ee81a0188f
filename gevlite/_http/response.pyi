from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import disjoint_base

from gevlite._http.connection import Connection

class FileWrapper:
    filelike: Any
    blksize: int
    def __init__(self, filelike: Any, blksize: int = 65536) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None: ...

@disjoint_base
class Response:
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
    def process_result(self) -> None: ...
    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]: ...
    def finalize_headers(self) -> None: ...
    def write(self, data: bytes) -> None: ...
