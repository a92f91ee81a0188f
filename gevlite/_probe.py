"""What a process reports about itself: `collect()`, the data behind `python -m gevlite ps`, and a trace.

It runs in the process that is inspected, at any moment: in a thread of its own, in a signal handler, or in a script of
`sys.remote_exec`. For the last of these the text of this file is sent there, so it imports nothing: an import could
wait for a lock that a greenlet holds. It uses modules that are already loaded, and returns what `marshal` can write. It
runs no code of the program.
"""

import sys

MOST_TASKS = 1000
MOST_FRAMES = 64
LONGEST_NAME = 200


def collect(skip=0):
    """A dict of numbers and strings; `error` in it says why there is nothing else.

    skip: so many frames of the caller's stack are no part of the report.
    """
    core = sys.modules.get("gevlite._core")
    if core is None or not hasattr(core, "look"):
        return {"version": 1, "error": "the process has not imported gevlite"}
    found = {**core.look(skip + 1), **facts()}
    found["holders"] = list(found["holders"].items())
    try:
        found["tasks"] = [(address, *_tasks(loop)) for address, loop in core.waiting_loops()]
    except Exception as exc:  # whatever the state of asyncio, the rest of the report is wanted
        found["tasks"] = []
        found["problem"] = f"the tasks of asyncio: {type(exc).__name__}"
    return found


def facts():
    """The facts that are the same in each report about this process."""
    argv = getattr(sys, "argv", None)
    try:
        folder = sys.modules["posix"].getcwd()
    except Exception:
        folder = ""
    return {
        "program": [_short(str(part)) for part in argv] if type(argv) is list else [],
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "gevlite": getattr(sys.modules.get("gevlite._version"), "__version__", "?"),
        "executable": sys.executable,
        "paths": _paths(sys.modules.get("gevlite._core")),
        "folder": folder,
        "threads": list(_thread_names().items()),
    }


def _short(name):
    """For a screen: the end of a very long one is `...`."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "..."


def _paths(core):
    """The folders of gevlite and of the standard library."""
    folders = []
    for file in (getattr(core, "__file__", None), getattr(sys.modules.get("os"), "__file__", None)):
        folders.append(file.rpartition("/")[0] + "/" if type(file) is str else "")
    return folders


def _thread_names():
    """Threads by number: that of the OS thread, or of the greenlet that acts as a thread."""
    active = getattr(sys.modules.get("threading"), "_active", None)
    names = {}
    if type(active) is dict:
        for ident, thread in list(active.items()):
            try:
                name = object.__getattribute__(thread, "__dict__").get("_name")
            except Exception:
                continue
            if type(name) is str and type(ident) is int:
                names[ident] = _short(name)
    return names


def _tasks(loop):
    """How many tasks the loop has; for the first ones, the name, the coroutine and the frames, innermost first."""
    all_tasks = getattr(sys.modules.get("asyncio.tasks"), "all_tasks", None)
    if all_tasks is None:
        return 0, []
    tasks = list(all_tasks(loop))
    told = []
    for task in tasks[:MOST_TASKS]:
        coroutine = task.get_coro()
        name = task.get_name()
        told.append((_short(name) if type(name) is str else "", _short(_name_of(coroutine)), _awaiting(coroutine)))
    return len(tasks), told


async def _nothing():
    pass


def _generate():
    yield


_example = _nothing()
_example.close()
_Coroutine = type(_example)
_Generator = type(_generate())
del _example


def _name_of(coroutine):
    return coroutine.__qualname__ if type(coroutine) in (_Coroutine, _Generator) else type(coroutine).__name__


def _awaiting(coroutine):
    """The frames of a suspended coroutine and of those that it awaits, innermost first."""
    frames = []
    while len(frames) < MOST_FRAMES:
        if type(coroutine) is _Coroutine:
            frame, inner = coroutine.cr_frame, coroutine.cr_await
        elif type(coroutine) is _Generator:
            frame, inner = coroutine.gi_frame, coroutine.gi_yieldfrom
        else:
            break
        if frame is None:
            break
        frames.append((frame.f_code.co_filename, frame.f_lineno or 0, _short(frame.f_code.co_qualname)))
        coroutine = inner
    return frames[::-1]


def trace_start(events, seconds):
    """Begin a trace that stops recording after `seconds`. Returns a dict; `error` in it says why there is no trace."""
    core = sys.modules.get("gevlite._core")
    if core is None:
        return {"error": "the process has not imported gevlite"}
    if not hasattr(core, "trace_start"):
        return {"error": "the gevlite of the process has no traces"}
    if not core.hubs():
        return {"error": "no thread of the process has a hub"}
    try:
        core.trace_start(events, seconds)
    except RuntimeError as exc:
        return {"error": str(exc)}
    return {}


def trace_stop(as_text=True):
    """End it; returns its data, for `_timeline`. JSON has no bytes: as_text gives the events as hexadecimal digits."""
    try:
        found = sys.modules["gevlite._core"].trace_stop()
    except RuntimeError as exc:
        return {"error": str(exc)}
    if as_text:
        found["events"] = found["events"].hex()
    return {**facts(), **found}


def deliver(path, function, *arguments):
    """Write the result of a function of this module to a new file, which gets its name when it is complete.

    For `sys.remote_exec`.
    """
    try:
        found = {"collect": collect, "trace_start": trace_start, "trace_stop": trace_stop}[function](*arguments)
    except Exception as exc:
        found = {"version": 1, "error": f"{type(exc).__name__}: {exc}"}
    _write(path, found)


def _write(path, found):
    posix, marshal = sys.modules["posix"], sys.modules["marshal"]
    try:
        fd = posix.open(path + ".part", posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW, 0o600)
        try:
            rest = marshal.dumps(found)
            while rest:
                rest = rest[posix.write(fd, rest) :]
        finally:
            posix.close(fd)
        posix.rename(path + ".part", path)
    except OSError:
        pass  # the process that asked has given up


def call_back(path, answer, door):
    """Start a thread that connects to `path` and talks there as the module `door` does. For `sys.remote_exec`.

    answer: the file that gets the reason, if that is not possible.
    """
    begin = getattr(sys.modules.get("gevlite.hub"), "_start_new_thread", None)
    if begin is None:
        _write(answer, {"version": 1, "error": "the process has not imported gevlite"})
        return

    def talk():
        try:
            __import__(door)  # may wait for a lock of the import system: it is a thread of its own
            sys.modules[door].call_back(path)
        except Exception as exc:
            _write(answer, {"version": 1, "error": f"{type(exc).__name__}: {exc}"})

    begin(talk, ())
