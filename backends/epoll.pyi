from typing_extensions import disjoint_base

from gevlite._core import Backend

@disjoint_base
class EpollBackend(Backend):
    def fileno(self) -> int: ...
