from typing_extensions import disjoint_base

from gevlite._core import Backend

@disjoint_base
class PollBackend(Backend): ...
