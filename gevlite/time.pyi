__implements__: list[str]
__imports__: list[str]

def sleep(seconds: float = 0, ref: bool = True) -> None: ...

# Last, because type checkers keep the first of two definitions.
from time import *  # type: ignore[assignment]  # noqa: E402, F403
