"""Running code in another interpreter (PEP 734) blocks no other greenlet, and interpreters run in parallel.

Such code runs in the OS thread that calls it, and without gevlite. So all greenlets of that thread would wait for it.
The threads of an InterpreterPoolExecutor are greenlets of one thread, so its interpreters would take turns. Therefore
each call is made in a thread of its own. Their number is not limited, because interpreters may wait for each other.

`concurrent.interpreters` and `concurrent.futures.InterpreterPoolExecutor` look these functions up at each call. Queues
between interpreters wait with `time.sleep`, and need no twin. But they round a time-out down to whole seconds: a loop
with a shorter one would keep all other greenlets from running. So `get` and `put` let others run, as every operation
does that may block but succeeds at once.

Functions are passed to another interpreter by name. gevlite is not available there, so its functions are replaced with
the originals: `pool.submit(time.sleep, 1)`.
"""

try:
    import _interpreters as _std
except ImportError:  # new in Python 3.13; before, there is nothing to replace
    _std = None

import functools
import importlib
import sys

from gevlite import _twin
from gevlite._core import get_hub_if_exists, let_others_run
from gevlite.threadpool import ThreadPool

__target__ = "_interpreters"
__implements__ = _twin.present(_std, "call", "exec", "run_func", "run_string")
__all__ = [*__implements__]

_originals = {name: getattr(_std, name) for name in __implements__}

_MOST_THREADS = 100_000
_IDLE_SECONDS = 10.0
_pool = None


def _in_thread(function, args, kwargs):
    global _pool
    hub = get_hub_if_exists()
    if hub is None:
        return function(*args, **kwargs)
    if _pool is None:
        _pool = ThreadPool(_MOST_THREADS, hub, _IDLE_SECONDS)
    return _pool.apply(function, args, kwargs)


class _Module:
    """Pickles as a module; modules themselves cannot be pickled."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return importlib.import_module, (self.name,)


class _Original:
    """Pickles as the object that the name has in the module there, whatever it is here."""

    def __init__(self, module, name):
        self.module = module
        self.name = name

    def __reduce__(self):
        return getattr, (_Module(self.module), self.name)

    def __call__(self):
        """Makes it callable: other objects are refused."""
        raise NotImplementedError


def _without_twins(value):
    """`value` with gevlite's functions replaced by the originals, also in tuples, lists and dicts."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind(map(_without_twins, value))
    if kind is dict:
        return {key: _without_twins(item) for key, item in value.items()}
    module = getattr(value, "__module__", None)
    if isinstance(module, str) and module.startswith("gevlite."):
        return _original_of(value) or value
    return value


def _original_of(value):
    for name, twin in list(sys.modules.items()):
        if name.startswith("gevlite.") and hasattr(twin, "__target__"):
            for attribute in twin.__implements__:
                if getattr(twin, attribute) is value:
                    return _Original(twin.__target__, attribute)
    return None


def call(*args, **kwargs):
    """Like the original: call a function in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["call"], _without_twins(args), _without_twins(kwargs))


def exec(*args, **kwargs):
    """Like the original: execute code in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["exec"], args, kwargs)


def run_func(*args, **kwargs):
    """Like the original: run a function without arguments in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["run_func"], args, kwargs)


def run_string(*args, **kwargs):
    """Like the original: run source code in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["run_string"], args, kwargs)


def fair_queue(queue):
    """`{name: method}`: replacements for methods of the class of queues between interpreters."""
    get, put = queue.get, queue.put

    @functools.wraps(get)
    def fair_get(self, block=True, timeout=None, **options):
        if block:
            let_others_run(timeout)
        return get(self, block, timeout, **options)

    @functools.wraps(put)
    def fair_put(self, obj, block=True, timeout=None, **options):
        if block:
            let_others_run(timeout)
        return put(self, obj, block, timeout, **options)

    return {"get": fair_get, "put": fair_put}
