"""Uncaught errors of greenlets: printed, or passed to `threading.excepthook`.

This module does not import `threading`: as long as nothing else has imported it, no hook can be set.
"""

import sys
from _thread import get_ident as _os_ident

__all__ = ["call_hook", "replaced_hook", "write_report"]


def replaced_hook():
    """The program's own `threading.excepthook`; None if it is the original.

    pytest's hook counts as the original. It turns the errors of threads into warnings, because they would otherwise be
    lost; the error of a greenlet is kept for `get()`.
    """
    threading = sys.modules.get("threading")
    hook = getattr(threading, "excepthook", None)
    if hook is None or hook is getattr(threading, "__excepthook__", None):
        return None
    if getattr(getattr(hook, "func", hook), "__module__", None) == "_pytest.threadexception":
        return None
    return hook


def call_hook(hook, greenlet, kind, value, traceback):
    """Call `hook` as `threading` does. greenlet: the current one."""
    threading = sys.modules["threading"]
    hook(threading.ExceptHookArgs((kind, value, traceback, _thread_of(threading, greenlet))))


def write_report(stream, describe, context, kind, value, traceback):
    """Write the traceback, then a line that names the greenlet or callback. describe: a function for its name, or
    None."""
    from traceback import format_exception  # slow to import, seldom needed

    lines = format_exception(kind, value, traceback)
    if context is not None:
        try:
            name = context if isinstance(context, str) else str((describe or repr)(context))
        except Exception as exc:
            name = f"<{type(context).__name__} whose repr failed with {type(exc).__name__}>"
        lines.append(f"{name} failed with {kind.__name__}\n\n")
    try:
        stream.write("".join(lines))
    except Exception:
        pass  # a closed or full stderr must not raise in the main greenlet, wherever that is


def _thread_of(threading, greenlet):
    if threading.get_ident() == _os_ident() and hasattr(greenlet, "minimal_ident"):
        return _stand_in_class(threading)(greenlet)  # not patched: to `threading` it is the main thread
    return threading.current_thread()


_class = None


def _stand_in_class(threading):
    """A subclass of Thread that stands for a greenlet: has it as attribute `greenlet`, and has its name."""
    global _class
    if _class is None:
        methods = {"__init__": _init, "is_alive": _is_alive, "join": _join, "__module__": __name__}
        _class = type("GreenletThread", (threading.Thread,), methods)
    return _class


def _init(self, greenlet):
    threading = sys.modules["threading"]
    threading.Thread.__init__(self, name=greenlet.name, daemon=True)
    threading._dangling.discard(self)
    self._started.set()
    self._ident = id(greenlet)
    self._native_id = threading.get_native_id()
    self.greenlet = greenlet


def _is_alive(self):
    return not self.greenlet.dead


def _join(self, timeout=None):
    self.greenlet.join(timeout)
