"""How the commands reach a running process: by the socket of GEVLITE_INSPECT, or by `sys.remote_exec`."""

import json
import marshal
import os
import shutil
import socket
import sys
import tempfile
import time

from gevlite import _door, _probe
from gevlite._report import printable

__all__ = [
    "CannotLook",
    "ask",
    "children_of",
    "connect",
    "ends_now",
    "has_ended",
    "knock",
    "look",
    "look_by_socket",
    "no_hub",
    "output_lost",
    "run_there",
    "silent",
    "stat_of",
    "user_of",
]


class CannotLook(Exception):
    """Why there is no report, and what to do about it."""

    def __str__(self):
        # The process itself may have given the reason.
        return "\n".join(map(printable, super().__str__().split("\n")))


def look(pid, timeout):
    """What `gevlite._probe.collect()` returns in the process."""
    uid = user_of(pid)
    raw = look_by_socket(pid, uid, timeout)
    if raw is None:
        raw = run_there(pid, uid, timeout, "collect", 2)
    if "error" in raw:
        raise CannotLook(f"process {pid}: {raw['error']}")
    return raw


def connect(pid, timeout, request):
    """A connection to a thread of the process, which has the request. For the requests that `gevlite._door` answers."""
    uid = user_of(pid)
    connection = knock(pid, uid, timeout)
    if connection is None:
        connection = _summon(pid, uid, timeout)
    try:
        connection.sendall(request)
    except OSError:
        pass  # reading the answer will show that it has hung up
    return connection


def has_ended(pid):
    """True if there is no such process, or only its exit status is left."""
    try:
        os.kill(pid, 0)
        return stat_of(pid)[0] in (b"Z", b"X")
    except ProcessLookupError:
        return True
    except OSError:
        return False  # another user's; or there is no /proc


def ends_now(pid, seconds=5.0):
    """True if a process that has hung up ends within so many seconds: its connections end a moment before it does."""
    end = time.monotonic() + seconds
    while not has_ended(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def output_lost(exc):
    """The exit code when stdout cannot be written to. Unless it is merely closed, say so first."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush at exit
    if isinstance(exc, BrokenPipeError):
        return 0
    print(f"gevlite: cannot write the output: {exc.strerror or exc}", file=sys.stderr)
    return 1


def silent(pid, timeout):
    """The words for it."""
    return (
        f"process {pid} has not answered for {timeout:g} s: C code holds the GIL, or the process is stopped. "
        "A debugger such as gdb or py-spy shows where"
    )


def no_hub(pid):
    """The words for it."""
    children = ", ".join(map(str, children_of(pid)))
    return f"no thread of process {pid} has a hub" + (f"; its children are {children}" if children else "")


def _must_exist(pid, otherwise):
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        raise CannotLook(otherwise) from None
    except PermissionError:
        pass


def user_of(pid):
    """The number of the user of a process; that of this one where the system does not say."""
    if pid <= 0:
        raise CannotLook(f"{pid} is not the number of a process")
    _must_exist(pid, f"there is no process {pid}")
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return os.geteuid()


# ---------------------------------------------------------------- by the socket of GEVLITE_INSPECT


def look_by_socket(pid, uid, timeout):
    """What the process answers at its socket; None if it has none."""
    connection = knock(pid, uid, timeout)
    if connection is None:
        return None
    with connection:
        raw, *parts = ask(connection, pid, timeout, b"look\n")
    raw["greenlets"] = [row for part in parts for row in part]
    return raw


def ask(connection, pid, timeout, request, wait=None):
    """Send a request; the lines of the answer, each from JSON. wait: called between the two."""
    try:
        connection.sendall(request)
        if wait is not None:
            wait()
        with connection.makefile("rb") as file:
            lines = [json.loads(line) for line in file]
    except TimeoutError:
        raise CannotLook(silent(pid, timeout)) from None
    except (OSError, ValueError) as exc:
        raise CannotLook(f"process {pid} has not answered: {exc}") from None
    if not lines:
        raise CannotLook(f"process {pid} has {'ended' if ends_now(pid, 2.0) else 'hung up'}")
    return lines


def knock(pid, uid, timeout):
    """A connection to its socket; None if it has none."""
    for folder in _door.folders(uid):
        path = os.path.join(folder, _door.socket_name(pid))
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            if _door.is_private(folder, uid) and os.lstat(path).st_uid in (uid, 0, os.geteuid()):
                connection.connect(path)
                # The folder belongs to that user, who could have put a link to the socket of another process there.
                if _door.peer_of(connection) in (None, uid, 0) and _door.process_of(connection) in (None, pid):
                    return connection
        except TimeoutError:
            connection.close()
            raise CannotLook(silent(pid, timeout)) from None
        except OSError:
            pass  # there is none, or what is there is from another process that has ended
        connection.close()
    return None


# ---------------------------------------------------------------- by sys.remote_exec


def run_there(pid, uid, timeout, function, *arguments):
    """What a function of `_probe` returns in that process."""
    with _Script(pid, uid, timeout) as script:
        script.run("deliver", script.answer, function, *arguments)
        while not os.path.exists(script.answer):
            script.wait()
        return _read(script.answer, uid)


def _summon(pid, uid, timeout):
    """Have a thread of the process connect to us."""
    with _Script(pid, uid, timeout) as script, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(script.folder, "door")
        listener.bind(path)
        os.chmod(path, 0o600)
        if uid != os.geteuid():
            os.chown(path, uid, -1)
        listener.listen(1)
        listener.settimeout(0.01)
        script.run("call_back", path, script.answer, _door.__name__)
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if os.path.exists(script.answer):
                    raise CannotLook(f"process {pid}: {_read(script.answer, uid)['error']}") from None
                script.wait()
                continue
            connection.settimeout(timeout)
            if _door.peer_of(connection) in (None, uid, 0):
                return connection
            connection.close()


class _Script:
    """A call of a function of `gevlite._probe` that the process is asked to make, in a `with` block."""

    def __init__(self, pid, uid, timeout):
        self._exec = getattr(sys, "remote_exec", None)
        if self._exec is None:
            raise CannotLook(_unprepared(pid, "before Python 3.14 it has to be prepared"))
        self._pid = pid
        self._uid = uid
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._keep = False

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="gevlite-ps-")
        self._path = os.path.join(self.folder, "script.py")
        self.answer = os.path.join(self.folder, "answer")
        return self

    def __exit__(self, *_):
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, function, *arguments):
        with open(_probe.__file__, encoding="utf-8") as file:
            source = file.read()
        # In a namespace of its own, not in the program's.
        with open(self._path, "w", encoding="utf-8") as file:
            call = f"ns[{function!r}](*{arguments!r})"
            file.write(f"exec(compile({source!r}, 'gevlite/_probe.py', 'exec'), ns := {{}}); {call}\n")
        if self._uid != os.geteuid():
            os.chown(self._path, self._uid, -1)
            os.chown(self.folder, self._uid, -1)
        try:
            self._exec(self._pid, self._path)
        except Exception as exc:
            raise CannotLook(_refused(self._pid, exc)) from None

    def wait(self):
        """Wait for a moment. Raises CannotLook if it has taken too long, or if there is nothing to wait for."""
        if time.monotonic() > self._end:
            with open(self._path, "w", encoding="utf-8"):
                pass  # the process will run it later, when it does nothing
            self._keep = True
            raise CannotLook(_blocked(self._pid, self._timeout))
        _must_exist(self._pid, f"process {self._pid} has ended")
        time.sleep(0.005)


def _read(path, uid):
    """What the process has written. marshal trusts what it reads; root does not trust every process."""
    if os.geteuid() or not uid:
        with open(path, "rb") as file:
            return marshal.load(file)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(65534)
            with open(path, "rb") as file, open(writer, "wb") as out:
                os.setuid(uid)
                out.write(json.dumps(marshal.load(file)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read()
    os.waitpid(child, 0)
    try:
        return json.loads(text)
    except ValueError:
        raise CannotLook("the process has sent something else than a report") from None


def _refused(pid, exc):
    if isinstance(exc, PermissionError):
        why = (
            "the system does not allow it: run this as root, or allow it once with "
            "`sysctl kernel.yama.ptrace_scope=0`; a container needs the capability SYS_PTRACE"
        )
    else:
        why = (
            f"{exc or type(exc).__name__}. Both have to be of the same minor version of Python, and started without "
            "-X disable-remote-debug and PYTHON_DISABLE_REMOTE_DEBUG"
        )
    return _unprepared(pid, f"sys.remote_exec: {why}")


def _unprepared(pid, why):
    if has_gevlite(pid) is False:
        found = [child for child in children_of(pid) if has_gevlite(child)]
        hint = f". Its children that have: {', '.join(map(str, found))}" if found else ""
        return f"process {pid} has not imported gevlite{hint}"
    hint = _signal_hint(pid)
    return (
        f"cannot look into process {pid}: {why}.\n"
        "Start it with GEVLITE_INSPECT=1 in its environment, or `gevlite.config.inspect = True` before the first hub, "
        "as the same user; or with GEVLITE_DUMP_SIGNAL=USR1, and send it that signal: it writes the report to its "
        f"stderr.{hint}{_children_hint(pid)}"
    )


def _children_hint(pid):
    """Advice if its children have been prepared, as those of gunicorn's master are."""
    found = []
    for child in children_of(pid):
        try:
            folders = _door.folders(user_of(child))
        except CannotLook:
            continue  # it has just ended
        if any(os.path.exists(os.path.join(folder, _door.socket_name(child))) for folder in folders):
            found.append(str(child))
    return f"\nPrepared are its children: {', '.join(found)}." if found else ""


def _signal_hint(pid):
    """Advice if the process has been prepared in the other way."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
    except OSError:
        return ""
    name = entries.get(b"GEVLITE_DUMP_SIGNAL", b"").decode("ascii", "replace").upper().removeprefix("SIG")
    return f"\nThis process was started with GEVLITE_DUMP_SIGNAL: `kill -{name} {pid}`." if name else ""


def _blocked(pid, timeout):
    text = (
        f"the main thread of process {pid} has run no Python code for {timeout:g} s: it is blocked in C, or stopped. "
        "With GEVLITE_INSPECT=1 in its environment a thread of its own answers also then."
    )
    stack = _outer_stack(pid)
    return text + (f"\nIts stack now, innermost call first:\n{stack}" if stack else "")


def _outer_stack(pid):
    """The stack of the main thread, read from outside; empty if that does not work: on 3.15 while a greenlet runs."""
    try:
        import _remote_debugging  # type: ignore[import-not-found]

        found = _remote_debugging.RemoteUnwinder(pid, all_threads=False).get_stack_trace()
        frames = found[0].threads[0].frame_info if hasattr(found[0], "threads") else found[0].frame_info
        return "\n".join(f"  {frame.funcname} ({frame.filename}:{_line(frame)})" for frame in frames)
    except Exception:  # a private module: anything may be different
        return ""


def _line(frame):
    location = getattr(frame, "location", None)
    return getattr(location, "lineno", None) or getattr(frame, "lineno", "?")


# ---------------------------------------------------------------- from /proc


def stat_of(pid):
    """The fields of its /proc/PID/stat that come after the name. Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def has_gevlite(pid):
    """Whether the core of gevlite is in its memory; None: unknown, as for another user's process or without /proc."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            maps = file.read()
    except OSError:
        return None
    return b"/gevlite/_core." in maps if maps else None


def children_of(pid):
    """The numbers of its child processes; empty where there is no /proc."""
    found = []
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if name.isdigit():
            try:
                parent = int(stat_of(name)[1])
            except (OSError, ValueError, IndexError):
                continue
            if parent == pid:
                found.append(int(name))
    return sorted(found)
