"""Make the standard library cooperative: calls that would block a thread then block only one greenlet.

::

    from gevlite import monkey
    monkey.patch_all()          # at the very start of the program, before other imports

`patch_all` replaces names in modules: `socket.socket`, `time.sleep`, `threading.Lock` and so on. Code that looks them
up in the module gets the replacements; code that did `from socket import socket` before keeps the original, so patch
early. Each area has a function of its own, `patch_socket`, `patch_time`, ...; all may be called again and in any order.
`get_original` returns the original, and `unpatch_all` restores everything.

`python -m gevlite.monkey script.py` runs a program patched.

In this folder, `_engine` saves, replaces and restores; most other files patch one area each. Nothing else in gevlite
imports this package, and gevlite's own modules hold the originals that they need.
"""

from importlib.util import find_spec

from gevlite import events
from gevlite._config import config
from gevlite.monkey._asyncio import patch_asyncio
from gevlite.monkey._builtins import patch_builtins
from gevlite.monkey._contextvars import patch_contextvars
from gevlite.monkey._drivers import watch as watch_drivers
from gevlite.monkey._engine import (
    MonkeyPatchError,
    MonkeyPatchWarning,
    get_original,
    is_anything_patched,
    is_module_patched,
    is_object_patched,
    patch_item,
    patch_module,
    saved,
    unpatch_all,
)
from gevlite.monkey._late import problems
from gevlite.monkey._os import patch_os
from gevlite.monkey._patching import check_names, patching
from gevlite.monkey._queue import patch_queue
from gevlite.monkey._select import patch_select
from gevlite.monkey._signal import patch_signal
from gevlite.monkey._socket import patch_dns, patch_socket
from gevlite.monkey._ssl import patch_ssl
from gevlite.monkey._subprocess import patch_subprocess
from gevlite.monkey._sys import patch_sys
from gevlite.monkey._thread import patch_thread
from gevlite.monkey._time import patch_time

__all__ = [
    "MonkeyPatchError",
    "MonkeyPatchWarning",
    "get_original",
    "is_anything_patched",
    "is_module_patched",
    "is_object_patched",
    "main",
    "patch_all",
    "patch_asyncio",
    "patch_builtins",
    "patch_contextvars",
    "patch_dns",
    "patch_item",
    "patch_module",
    "patch_os",
    "patch_queue",
    "patch_select",
    "patch_signal",
    "patch_socket",
    "patch_ssl",
    "patch_subprocess",
    "patch_sys",
    "patch_thread",
    "patch_time",
    "problems",
    "saved",
    "unpatch_all",
]


@check_names
def patch_all(
    socket=True,
    dns=True,
    time=True,
    select=True,
    thread=True,
    os=True,
    ssl=True,
    subprocess=True,
    sys=False,
    aggressive=True,
    Event=True,
    builtins=True,
    signal=True,
    queue=True,
    contextvars=True,
    *,
    asyncio=True,
    fix=False,
    strict=None,
):
    """Patch every area that is not turned off; see `patch_socket` and so on. Calling it again is harmless.

    `dns` has an effect only together with `socket`, `aggressive` only for `socket` and `select`. `Event` is for code
    written for gevent and does nothing: events use the patched locks. Raises TypeError for an unknown argument.

    Existing objects are repaired in place: locks, even taken ones, queues, locals, sockets, selectors, executors,
    pipes. Modules that have already imported a replaced function keep the original: one MonkeyPatchWarning names them
    all, and another names the objects that could not be repaired. With `fix=True` the replacements are put into those
    modules. Originals in defaults of arguments and in a module's partials are only named; references in instances or
    closures are neither found nor repaired.

    With `strict=True`, if there would be a warning, nothing is patched: MonkeyPatchError has its text. None means the
    value of `gevlite.config.monkey_strict`. Subscribers of `gevlite.events` get an event for each step.
    Returns False if one of them forbade all of it, else True.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("fix", "strict")}
    if not events.may_patch(events.GeventWillPatchAllEvent(arguments, {})):
        return False
    if strict is None:
        strict = config.monkey_strict
    with patching(fix, strict):
        if os:
            patch_os()
        if time:
            patch_time()
        if thread:
            patch_thread(Event=Event)
        if socket:
            patch_socket(dns=dns, aggressive=aggressive)
        if select:
            patch_select(aggressive=aggressive)
        if ssl and find_spec("_ssl") is not None:
            patch_ssl()
        if subprocess:
            patch_subprocess()
        if sys:
            patch_sys()
        if builtins:
            patch_builtins()
        if signal:
            patch_signal()
        if queue:
            patch_queue()
        if contextvars:
            patch_contextvars()
        if asyncio:
            patch_asyncio()
        if socket and select:
            watch_drivers()
    events.notify(events.GeventDidPatchBuiltinModulesEvent(arguments, {}))
    events.notify(events.GeventDidPatchAllEvent(arguments, {}))
    return True


def main():
    """Run `python -m gevlite.monkey` with the arguments in sys.argv; ends the process with its exit code."""
    from gevlite.monkey.__main__ import main

    raise SystemExit(main())
