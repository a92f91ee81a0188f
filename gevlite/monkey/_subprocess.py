"""`subprocess`."""

from gevlite.monkey import _pipes
from gevlite.monkey._engine import adopt_class, afterwards, get_original, patch_twin
from gevlite.monkey._patching import patching

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

    adopt_class(
        get_original("subprocess", "Popen"), {name: value for name, value in vars(Popen).items() if name not in _LEFT}
    )
    afterwards(_repair_pipes)


def _repair_pipes():
    for pipe in _pipes.pipes(get_original("subprocess", "Popen")):
        if not pipe.reason:
            _pipes.repair(pipe)
