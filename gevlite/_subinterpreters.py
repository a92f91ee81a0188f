"""Running code in another interpreter (PEP 734) stops no greenlet, and other interpreters run in parallel.

Such code runs in the OS thread that calls it, with nothing of gevlite in it: all greenlets of that thread would wait
for it, and as the threads of an InterpreterPoolExecutor are greenlets of one thread, its interpreters would take turns.
So a call is made in a thread of its own. There is no limit to their number, as interpreters may wait for each other.

`concurrent.interpreters` and `concurrent.futures.InterpreterPoolExecutor` look these functions up at each call. Queues
between interpreters wait by `time.sleep`, and need no twin.
"""

try:
    import _interpreters as _std
except ImportError:         # it came with Python 3.13; before, there is nothing here to replace
    _std = None

from gevlite._core import get_hub_if_exists
from gevlite.threadpool import ThreadPool

__target__ = "_interpreters"
__implements__ = [name for name in ("call", "exec", "run_func", "run_string") if hasattr(_std, name)]
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


def call(*args, **kwargs):
    """As the original: call a function in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["call"], args, kwargs)


def exec(*args, **kwargs):
    """As the original: execute code in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["exec"], args, kwargs)


def run_func(*args, **kwargs):
    """As the original: run a function without arguments in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["run_func"], args, kwargs)


def run_string(*args, **kwargs):
    """As the original: run source in another interpreter. Blocks this greenlet."""
    return _in_thread(_originals["run_string"], args, kwargs)
