from typing_extensions import disjoint_base

from gevlite._core import Backend

@disjoint_base
class KqueueBackend(Backend):
    def fileno(self) -> int: ...
