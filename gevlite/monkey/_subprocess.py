"""`subprocess`."""

from gevlite.monkey import _pipes
from gevlite.monkey._engine import adopt_class, afterwards, get_original, patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_subprocess"]

# Names in a class's own dict that have nothing to do with being cooperative.
_LEFT = ("__dict__", "__doc__", "__firstlineno__", "__module__", "__static_attributes__", "__weakref__")


@patcher
def patch_subprocess():
    """Make `subprocess.Popen`, and with it `run` and everything else there, block only the calling greenlet.

    The functions stay: they look up `Popen` when they are called. Modules that imported the class before, and derived
    classes, become cooperative too, because the original is changed in the same way.
    """
    patch_twin("subprocess", ["Popen"])
    from gevlite.subprocess import Popen

    adopt_class(
        get_original("subprocess", "Popen"), {name: value for name, value in vars(Popen).items() if name not in _LEFT}
    )
    afterwards(_repair_pipes)


def _repair_pipes():
    for pipe in _pipes.pipes(get_original("subprocess", "Popen")):
        if not pipe.reason:
            _pipes.repair(pipe)
