"""`ssl`."""

from gevlite.monkey._engine import adopt_class, get_original, is_module_patched, patch_item, patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_ssl"]


@patcher
def patch_ssl():
    """Make `ssl` and existing contexts cooperative; existing connections too, if `socket` is patched."""
    patch_twin("ssl")

    from gevlite import ssl as source

    # Contexts made earlier are of the original class; some of its properties would find themselves under the new name.
    for name, safe in source.SAFE_PROPERTIES.items():
        patch_item(get_original("ssl", "SSLContext"), name, safe)
    # Their connections use the original socket class. They are cooperative if sockets are.
    if is_module_patched("socket"):
        adopt_class(get_original("ssl", "SSLSocket"), source.ADOPTED)
        adopt_class(get_original("ssl", "SSLContext"), {})
