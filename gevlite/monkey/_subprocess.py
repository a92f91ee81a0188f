"""`subprocess`."""

from gevlite.monkey._engine import get_original, patch_item, patch_twin

__all__ = ["patch_subprocess"]


def patch_subprocess():
    """Make `subprocess.Popen`, and with it `run` and everything else there, block only the greenlet that waits.

    The functions stay: they look `Popen` up when they are called. Who has imported the class before, or derived one,
    gets a cooperative one too, because the original is changed in the same way.
    """
    patch_twin("subprocess", ["Popen"])
    from gevlite.subprocess import Popen

    original = get_original("subprocess", "Popen")
    for name, value in vars(Popen).items():
        if name not in ("__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"):
            patch_item(original, name, value)
