from typing import Any, Self

from typing_extensions import disjoint_base

class RequestError(OSError):
    status: str
    def __init__(self, status: str, reason: str) -> None: ...

@disjoint_base
class Settings:
    closing: bool
    stopped: bool
    raw_uri: bool
    request_timeout: float | None
    max_queued: int
    queued: int
    strict: bool
    header_map: str
    forwarded: frozenset[str]
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, limits: Any, parser_class: Any) -> None: ...
