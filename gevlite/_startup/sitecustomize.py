"""First on the module path of the children of a program that called `gevlite.as_gevent.install(children=True)`.

Python imports a module of this name when it starts (documentation of `site`). If GEVLITE_AS_GEVENT is set, this one
makes `import gevent` import gevlite, and does nothing else: gevlite itself is not imported before the program imports
gevent. Then it runs the `sitecustomize` that would have been imported without it.

It may run in any Python that such a program starts, even in one without gevlite: so it is simple and prints nothing.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder

_here = os.path.dirname(os.path.abspath(__file__))


class _WhenAsked:
    """Calls `as_gevent.install()` at the first import of gevent."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        finder = _finder() if name == "gevent" or name.startswith("gevent.") else None
        return finder.find_spec(name, path, target) if finder is not None else None

    @staticmethod
    def find_distributions(context):
        finder = _finder() if (context.name or "").lower() == "gevent" else None
        return finder.find_distributions(context) if finder is not None else ()


def _finder():
    if _WhenAsked not in sys.meta_path:
        return None
    sys.meta_path.remove(_WhenAsked)
    try:
        from gevlite import as_gevent
    except ImportError:
        return None  # a Python without gevlite
    as_gevent.install()
    return as_gevent._finder


def _run_the_next():
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("GEVLITE_AS_GEVENT", "") not in ("", "0"):
    sys.meta_path.insert(0, _WhenAsked)
_run_the_next()
