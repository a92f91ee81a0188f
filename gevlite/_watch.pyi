from collections.abc import Callable

from gevlite.timeout import Timeout

class Watch:
    def wait_unless(self, condition: Callable[[], object], timeout: float | Timeout | None = None) -> bool: ...
    def tell(self) -> None: ...
