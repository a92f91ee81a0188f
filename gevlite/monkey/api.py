"""For extensions: the functions for patching modules of their own."""

from gevlite.monkey._engine import get_original, patch_item, patch_module, remove_item

__all__ = ["get_original", "patch_item", "patch_module", "remove_item"]
