"""`ssl`."""

from gevlite.monkey._engine import get_original, patch_item, patch_twin, patching

__all__ = ["patch_ssl"]


@patching()
def patch_ssl():
    """Make `ssl` cooperative. Contexts that exist already keep working; their connections go on blocking."""
    patch_twin("ssl")

    from gevlite import ssl as source

    # Contexts made earlier are of the original class; some of its properties would find themselves under the new name.
    for name, safe in source.SAFE_PROPERTIES.items():
        patch_item(get_original("ssl", "SSLContext"), name, safe)
