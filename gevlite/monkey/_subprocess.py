"""`subprocess`."""

from gevlite.monkey._engine import get_original, harmless, patch_item, patch_twin, patching

__all__ = ["patch_subprocess"]

# Of a class's own dict, what does not make it cooperative.
_LEFT = ("__dict__", "__doc__", "__firstlineno__", "__module__", "__static_attributes__", "__weakref__")


@patching()
def patch_subprocess():
    """Make `subprocess.Popen`, and with it `run` and everything else there, block only the greenlet that waits.

    The functions stay: they look `Popen` up when they are called. Who has imported the class before, or derived one,
    gets a cooperative one too, because the original is changed in the same way.
    """
    patch_twin("subprocess", ["Popen"])
    from gevlite.subprocess import Popen

    original = get_original("subprocess", "Popen")
    for name, value in vars(Popen).items():
        if name not in _LEFT:
            patch_item(original, name, value)
    if original not in harmless:
        harmless.append(original)
