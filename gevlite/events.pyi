from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "DoNotPatch",
    "GeventDidPatchAllEvent",
    "GeventDidPatchBuiltinModulesEvent",
    "GeventDidPatchEvent",
    "GeventDidPatchModuleEvent",
    "GeventPatchEvent",
    "GeventWillPatchAllEvent",
    "GeventWillPatchEvent",
    "GeventWillPatchModuleEvent",
    "subscribers",
]

subscribers: list[Callable[[Any], object]]

def notify(event: object) -> None: ...
def may_patch(event: object) -> bool: ...

class DoNotPatch(BaseException): ...

class GeventPatchEvent:
    source: Any
    target: Any
    def __init__(self, source: Any, target: Any) -> None: ...

class GeventWillPatchEvent(GeventPatchEvent): ...
class GeventDidPatchEvent(GeventPatchEvent): ...

class GeventWillPatchModuleEvent(GeventWillPatchEvent):
    module_name: str
    items: Sequence[str]
    def __init__(self, module_name: str, source: Any, target: Any, items: Sequence[str]) -> None: ...

class GeventDidPatchModuleEvent(GeventDidPatchEvent):
    module_name: str
    def __init__(self, module_name: str, source: Any, target: Any) -> None: ...

class _All:
    patch_all_arguments: dict[str, Any]
    patch_all_kwargs: dict[str, Any]
    def __init__(self, patch_all_arguments: Mapping[str, Any], patch_all_kwargs: Mapping[str, Any]) -> None: ...

class GeventWillPatchAllEvent(_All, GeventWillPatchEvent):
    def will_patch_module(self, module_name: str) -> bool: ...

class GeventDidPatchBuiltinModulesEvent(_All, GeventDidPatchEvent): ...
class GeventDidPatchAllEvent(_All, GeventDidPatchEvent): ...
