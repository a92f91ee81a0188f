import subprocess as _std
from collections.abc import Callable
from typing import Any, AnyStr

__implements__: list[str]
__imports__: list[str]

def __getattr__(name: str) -> Any: ...

class Popen(_std.Popen[AnyStr]):
    def rawlink(self, callback: Callable[[Popen[AnyStr]], object]) -> None: ...
    def unlink(self, callback: Callable[[Popen[AnyStr]], object]) -> None: ...
    def pipe_cloexec(self) -> tuple[int, int]: ...

# Last, because type checkers keep the first of two definitions.
from subprocess import *  # type: ignore[assignment]  # noqa: E402, F403
from subprocess import list2cmdline as list2cmdline  # noqa: E402
