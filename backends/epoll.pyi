from gevlite._core import Backend

class EpollBackend(Backend):
    def fileno(self) -> int: ...
