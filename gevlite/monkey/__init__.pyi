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

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NoReturn, overload

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

saved: dict[str, dict[str, Any]]
"""`{module: {name: original}}` of all that is patched."""

class MonkeyPatchError(RuntimeError):
    """`patch_all(strict=True)` found a reason for a warning. Nothing is patched that was not patched before."""

class MonkeyPatchWarning(RuntimeWarning):
    """Something was patched too late, or cannot be patched fully."""

def main() -> NoReturn:
    """Run `python -m gevlite.monkey` with the arguments in sys.argv; ends the process with its exit code."""

def problems() -> list[str]:
    """Everything that was imported or made before patching and blocks all greenlets: a sentence for each, with a
    remedy.

    Empty if there is no problem, and if nothing is patched.
    """

def patch_all(
    socket: bool = True,
    dns: bool = True,
    time: bool = True,
    select: bool = True,
    thread: bool = True,
    os: bool = True,
    ssl: bool = True,
    subprocess: bool = True,
    sys: bool = False,
    aggressive: bool = True,
    Event: bool = True,
    builtins: bool = True,
    signal: bool = True,
    queue: bool = True,
    contextvars: bool = True,
    *,
    asyncio: bool = True,
    fix: bool = False,
    strict: bool | None = None,
) -> bool:
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

def patch_asyncio(loop: bool = True) -> None:
    """Make asyncio's running loop and current task belong to the greenlet, and its new loops loops of gevlite.

    Each greenlet may run a loop of its own, as each thread may. `asyncio.run`, `asyncio.Runner` and
    `asyncio.new_event_loop` make a `gevlite.asyncio.EventLoop`, unless the program gives a `loop_factory` or sets a
    policy with other loops, such as uvloop's. With `loop=False` they make asyncio's own loops as before.

    `asyncio.to_thread` and `run_in_executor(None, ...)` of any loop use OS threads, not greenlets. asyncio is not
    imported by this; if it is imported later, it is patched then.
    """

def patch_builtins() -> None:
    """Make `input` block only the calling greenlet."""

def patch_contextvars() -> None:
    """For code written for gevent: does nothing, see `gevlite.contextvars`."""

def patch_dns() -> None:
    """Make the hub's resolver look up names, which blocks no other greenlet."""

def patch_os() -> None:
    """Make `os.read`, `os.write` and waiting for a child block only the calling greenlet, also inside `subprocess`.

    They and `fcntl.fcntl` see the blocking mode that the user of a gevlite socket has set. Waiting for the lock of a
    file, as in `fcntl.flock`, blocks only the calling greenlet too.
    """

def patch_queue() -> None:
    """Make `queue.SimpleQueue` cooperative, and with it the executors of `concurrent.futures`."""

def patch_select(aggressive: bool = True) -> None:
    """Make `select.select`, `select.poll`, `select.epoll` and the selectors built on them cooperative.

    The classes of `selectors` stay, so those that were imported before become cooperative too. aggressive: remove
    `kqueue` and the like, which would block, and the selectors that use them.
    """

def patch_signal() -> None:
    """Make `signal.pause` and `signal.sigwait` cooperative, and let `set_wakeup_fd` share its place with the hub."""

def patch_socket(dns: bool = True, aggressive: bool = True) -> None:
    """Make `socket` cooperative. dns: name look-ups too. aggressive: remove functions that would block and lack a
    twin.
    """

def patch_ssl() -> None:
    """Make `ssl` and existing contexts cooperative; existing connections too, if `socket` is patched."""

def patch_subprocess() -> None:
    """Make `subprocess.Popen`, and with it `run` and everything else there, block only the calling greenlet.

    The functions stay: they look up `Popen` when they are called. Modules that imported the class before, and derived
    classes, become cooperative too, because the original is changed in the same way.
    """

def patch_sys(stdin: bool = True, stdout: bool = True, stderr: bool = True) -> None:
    """Make `sys.stdin`, `sys.stdout` and `sys.stderr` block only the greenlet that reads or writes.

    `patch_all` does this only with `sys=True`, because `print` may then let other greenlets run, which a program may
    not expect. A stream that is not the process's own, or is closed, is not changed. Data already in the buffer of
    `sys.stdin` stays there: patch before anything is read.
    """

def patch_thread(
    threading: bool = True,
    _threading_local: bool = True,
    Event: bool = True,
    logging: bool = True,
    existing_locks: bool = True,
) -> None:
    """Make new threads greenlets, and make locks block only the waiting greenlet.

    threading: also the `threading` module; without it only `_thread`.
    _threading_local: also the `local` of that module.
    Event: without effect, for code written for gevent: the patched locks make `threading.Event` cooperative.
    existing_locks: make existing locks cooperative too, wherever they are held and whether or not they are taken.
    logging: without `existing_locks`, do that at least for the locks of `logging`.

    OS threads that already run stay OS threads; joining one blocks only the calling greenlet.
    """

def patch_time() -> None:
    """Make `time.sleep` block only the calling greenlet."""

def patch_item(owner: ModuleType | type, attribute: str, replacement: object) -> None:
    """Set an attribute of a module (or a class), and remember the original the first time."""

def patch_module(target: ModuleType, source: ModuleType, items: Iterable[str] | None = None) -> None:
    """Replace names in module `target` by those of module `source`: `items`, by default all of its `__implements__`.

    Names that `target` does not have on this platform are skipped, unless `items` contains them: then AttributeError.
    Subscribers of `gevlite.events` are notified, and may prevent it.
    """

def unpatch_all() -> None:
    """Restore all originals. Objects made meanwhile are not changed: sockets, locks, threads that are greenlets."""

@overload
def get_original(mod_name: str, item_name: str) -> Any:
    """The original of a module's attribute, or its value if it is not patched. A list of names gives a list.

    The module is imported if needed. Raises AttributeError if there is no such attribute.
    """

@overload
def get_original(mod_name: str, item_name: Sequence[str]) -> list[Any]: ...
def is_anything_patched() -> bool:
    """True if anything is patched."""

def is_module_patched(mod_name: str) -> bool:
    """True if any attribute of the module is replaced."""

def is_object_patched(mod_name: str, item_name: str) -> bool:
    """True if this attribute of the module is replaced."""
