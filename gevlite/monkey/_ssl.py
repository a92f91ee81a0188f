"""`ssl`."""

import sys

from gevlite.monkey._engine import get_original, is_module_patched, patch_item, patch_twin, warn

__all__ = ["patch_ssl"]

# Classes that other modules like to import by name.
_WATCHED = ("SSLContext", "SSLSocket", "SSLObject")


def patch_ssl():
    """Make `ssl` cooperative. Warns if modules already hold its classes: their connections would block everybody."""
    late = [] if is_module_patched("ssl") else _holders()
    patch_twin("ssl")

    from gevlite import ssl as source

    # Contexts made earlier are of the original class; some of its properties would find themselves under the new name.
    for name, safe in source.SAFE_PROPERTIES.items():
        patch_item(get_original("ssl", "SSLContext"), name, safe)
    if late:
        warn(
            "ssl is patched too late for modules that have already imported its classes or derived their own from "
            f"them: {', '.join(late)}. Their connections will block all greenlets. "
            "Call gevlite.monkey.patch_all() before importing them."
        )


def _holders():
    """`module.name` of each reference to a class of ssl, or to one derived from it, outside ssl itself."""
    ssl = sys.modules.get("ssl")
    if ssl is None:
        return []
    watched = tuple(getattr(ssl, name) for name in _WATCHED)
    found = []
    for name, module in sorted(sys.modules.items()):
        if name in ("ssl", "_ssl") or name.partition(".")[0] == "gevlite":
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if isinstance(value, type) and issubclass(value, watched):
                found.append(f"{name}.{attribute}")
    return found
