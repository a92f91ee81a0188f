"""What all connections of a server share, and the error for a request that cannot be served."""

from typing import Any, Self

from typing_extensions import disjoint_base

class RequestError(OSError):
    """The client's request cannot be served; `status` says why, in the words of a response. Also: it took too long."""

    status: str
    def __init__(self, status: str, reason: str) -> None: ...

@disjoint_base
class Settings:
    """What the connections of a server share. `limits` is a `pywsgi.Limits`."""

    closing: bool
    stopped: bool
    raw_uri: bool
    request_timeout: float | None
    max_queued: int
    queued: int
    strict: bool
    header_map: str
    forwarded: frozenset[str]
    status_path: str | None
    status_page: Any
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, limits: Any, parser_class: Any) -> None: ...
    def counts(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...], float, int]:
        """`(requests by the first digit of their status, requests by time, limits of these in seconds, all seconds,
        requests that the application has now)`."""
