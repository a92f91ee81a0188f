"""How a process lets itself be looked at: `gevlite.config.inspect` and `gevlite.config.dump_signal`.

With `inspect` an OS thread waits at a UNIX socket and answers with `_probe.collect()`. It is a thread so that
it answers while the hub is stuck or blocked in C. It takes no lock, imports nothing, logs nothing, and sleeps in
accept(2) until it is asked. The socket is in a folder that only its user can enter, and the thread checks whom it talks
to.

A fork copies no thread. The child closes its copy of the socket, and opens its own.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import atexit
import json
import os
import posix  # which is never patched
import stat
import struct
import sys
import tempfile
import warnings

from gevlite import _probe, _report
from gevlite._config import config
from gevlite._core import signals_without_ref, too_late_for_threads
from gevlite._workers import count_in, count_out

__all__ = ["folders", "open_for", "peer_of", "socket_name"]

# The greenlets of an answer are sent in parts, so that no other thread waits long for the GIL.
_PART = 500
# It answers one at a time.
_REQUEST_SECONDS = 5.0
_ANSWER_SECONDS = 30.0

_listener = None
_path = None
_owner = 0  # the process that has opened it
_start = None
_opened: dict[int, object] = {}  # has the number of the process: of several threads that make a hub, one opens it
_warned = False


def folders(uid):
    """The folders in which a process of this user may have its socket, the preferred one first."""
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        found.append(os.path.join(runtime, "gevlite"))
    for folder in (f"/run/user/{uid}/gevlite", os.path.join(tempfile.gettempdir(), f"gevlite-{uid}")):
        if folder not in found:
            found.append(folder)
    return found


def socket_name(pid):
    """The name of the socket of a process."""
    return f"{pid}.sock"


def is_private(folder, uid):
    """True if it is a folder, no link, that belongs to this user and that nobody else can enter."""
    try:
        found = posix.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077


def peer_of(connection):
    """The number of the user at the other end; None if the system does not say."""
    if hasattr(_socket, "SO_PEERCRED"):  # Linux: struct ucred
        found = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return struct.unpack("iII", found)[1]
    if sys.platform == "darwin" or "bsd" in sys.platform:  # struct xucred; LOCAL_PEERCRED is 1
        try:
            return struct.unpack("II", connection.getsockopt(0, 1, 76)[:8])[1]
        except (OSError, struct.error):
            return None
    return None


# ---------------------------------------------------------------- opening


def open_for(hub, start_new_thread):
    """Do what the settings say. Called when a hub has been made, in its thread."""
    global _start
    if config.dump_signal is not None and hub.main_hub:
        _handle(config.dump_signal)
    if config.inspect:
        mine = object()
        if _opened.setdefault(posix.getpid(), mine) is mine:
            _start = start_new_thread
            _open()


def _open():
    global _listener, _path, _owner
    try:
        listener, path = _bind()
    except OSError as exc:
        _say(f"GEVLITE_INSPECT has no effect: {exc}")
        return
    try:
        _start(_serve, (listener,))
    except RuntimeError as exc:
        listener.close()
        posix.unlink(path)
        if not too_late_for_threads(exc):
            raise
        return
    _listener, _path, _owner = listener, path, posix.getpid()


def _say(text):
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(text, RuntimeWarning, stacklevel=4)


def _bind():
    uid = posix.geteuid()
    problems = []
    for folder in folders(uid):
        try:
            posix.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        except OSError as exc:
            problems.append(str(exc))
            continue
        if not is_private(folder, uid):
            problems.append(f"{folder} is not a folder that only user {uid} can enter")
            continue
        _clean(folder)
        path = os.path.join(folder, socket_name(posix.getpid()))
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            listener.settimeout(None)
            if _refuses(path):
                posix.unlink(path)
            listener.bind(path)
            posix.chmod(path, 0o600)
            listener.listen(8)
        except OSError as exc:
            listener.close()
            problems.append(f"{path}: {exc.strerror or exc}")
            continue
        return listener, path
    raise OSError("; ".join(problems))


def _refuses(path):
    """True if nothing listens there any more."""
    try:
        posix.lstat(path)
    except OSError:
        return False
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.settimeout(1.0)
        probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    finally:
        probe.close()
    return False


def _clean(folder):
    """Remove the sockets of processes that have ended without doing so."""
    for name in posix.listdir(folder):
        pid = name.removesuffix(".sock")
        if not pid.isdigit() or not name.endswith(".sock"):
            continue
        try:
            posix.kill(int(pid), 0)
        except ProcessLookupError:
            path = os.path.join(folder, name)
            try:
                if _refuses(path):
                    posix.unlink(path)
            except OSError:
                pass
        except OSError:
            pass


def _close():
    """At the end of the process."""
    global _path
    if _path is not None and _owner == posix.getpid():
        try:
            posix.unlink(_path)
        except OSError:
            pass
        _path = None


def _after_fork_in_child():
    global _listener, _path, _owner
    if _listener is None:
        return
    _listener.close()
    _listener = _path = None
    _owner = 0
    _opened.clear()
    _opened[posix.getpid()] = None
    _open()


atexit.register(_close)
os.register_at_fork(after_in_child=_after_fork_in_child)


# ---------------------------------------------------------------- the thread


def _serve(listener):
    count_in()
    try:
        while True:
            try:
                fd, _ = listener._accept()
            except OSError:
                if listener.fileno() < 0 or listener is not _listener:
                    return
                continue
            connection = _socket.socket(fileno=fd)
            try:
                if not _answer(connection):
                    connection.close()
            except Exception:
                connection.close()  # whoever asked has hung up
    finally:
        count_out()


def _answer(connection):
    """True if the answer will come from another thread, which then closes the connection."""
    if peer_of(connection) not in (posix.geteuid(), 0):
        return False  # another user's
    connection.settimeout(_REQUEST_SECONDS)
    request = b""
    while not request.endswith(b"\n") and len(request) < 100:
        received = connection.recv(100)
        if not received:
            return False
        request += received
    connection.settimeout(_ANSWER_SECONDS)
    if request.startswith(b"trace "):
        _start(_trace, (connection, request.split()))
        return True
    try:
        found = _probe.collect()
    except Exception as exc:
        found = {"version": 1, "error": f"{type(exc).__name__}: {exc}"}
    greenlets = found.pop("greenlets", [])
    connection.sendall(json.dumps(found).encode() + b"\n")
    for begin in range(0, len(greenlets), _PART):
        connection.sendall(json.dumps(greenlets[begin : begin + _PART]).encode() + b"\n")
    return False


def _trace(connection, request):
    """In a thread of its own: record for as long as asked, or until whoever asked says something or hangs up."""
    count_in()
    try:
        _, events, seconds = request
        found = _probe.trace_start(int(events), float(seconds))
        if "error" not in found:
            connection.settimeout(float(seconds))
            try:
                connection.recv(1)
            except TimeoutError:
                pass
            except OSError:
                pass  # it has hung up, and the trace is to end
            found = _probe.trace_stop()
        connection.settimeout(_ANSWER_SECONDS)
        connection.sendall(json.dumps(found).encode() + b"\n")
    except Exception:
        pass  # whoever asked has hung up
    finally:
        connection.close()
        count_out()


# ---------------------------------------------------------------- the signal


def _handle(number):
    current = _signal.getsignal(number)
    if current is _dump:
        return
    if callable(current):
        _say(f"GEVLITE_DUMP_SIGNAL has no effect: the program handles signal {number} itself")
        return
    try:
        _signal.signal(number, _dump)
    except (OSError, ValueError) as exc:
        _say(f"GEVLITE_DUMP_SIGNAL has no effect: {exc}")
        return
    signals_without_ref[number] = _dump


def _dump(number, frame):
    """The handler: writes past `sys.stderr`, whose buffer may be in the middle of a write."""
    try:
        text = _report.fit(_report.Report(_probe.collect(1)).ps(), None)
    except Exception as exc:
        text = f"gevlite: no report: {type(exc).__name__}: {exc}\n"
    try:
        path = config.dump_file
        fd = 2
        if path is not None:
            fd = posix.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            rest = text.encode("utf-8", "backslashreplace")
            while rest:
                rest = rest[posix.write(fd, rest) :]
        finally:
            if fd != 2:
                posix.close(fd)
    except Exception:
        pass  # a full disk, or no stderr
