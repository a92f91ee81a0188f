"""How a process can be inspected: `gevlite.config.inspect` and `gevlite.config.dump_signal`.

With `inspect` an OS thread waits at a UNIX socket, and starts another thread for each client: for `ps`, which gets
`_probe.collect()`, for `top`, which gets samples as long as it is connected, and for `attach`, which gets a prompt.
They are threads so that they answer even while the hub is stuck or blocked in C. They take no lock, log nothing, and
import modules only for `attach`; the first one sleeps in accept(2) until a client connects. The socket is in a folder
that only its user can enter, and each thread checks which user its client belongs to.

Without `inspect`, `sys.remote_exec` starts such a thread; see `call_back`.

A fork copies no thread. The child closes its copies of the sockets, and opens its own.
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
from time import monotonic

from gevlite import _probe, _report
from gevlite._config import config
from gevlite._core import Sampler, signals_without_ref, tally, too_late_for_threads
from gevlite._workers import count_in, count_out

__all__ = ["folders", "open_for", "peer_of", "process_of", "socket_name"]

# The greenlets of an answer are sent in parts, so that no other thread waits long for the GIL.
_PART = 500
_REQUEST_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
# How often to check whether a client of `top` has hung up.
_SLICE_SECONDS = 0.5
# At most so many clients at a time.
_MOST_TALKS = 16

_talks: dict = {}  # the connection of each client: its session if it has one, else None
_listener = None
_path = None
_owner = 0  # the process that has opened it
_start = None
_opened: dict[int, object] = {}  # has the number of the process: if several threads make a hub, only one opens it
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
    """True if it is a folder, not a link, that belongs to this user and that no other user can enter."""
    try:
        found = posix.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077


def peer_of(connection):
    """The user ID of the process at the other end; None if the system does not say."""
    if hasattr(_socket, "SO_PEERCRED"):  # Linux: struct ucred
        found = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return struct.unpack("iII", found)[1]
    if sys.platform == "darwin" or "bsd" in sys.platform:  # struct xucred; LOCAL_PEERCRED is 1
        try:
            return struct.unpack("II", connection.getsockopt(0, 1, 76)[:8])[1]
        except (OSError, struct.error):
            return None
    return None


def process_of(connection):
    """The process ID of the listener at the other end; None if the system does not say."""
    if hasattr(_socket, "SO_PEERCRED"):
        found = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return struct.unpack("iII", found)[0] or None  # 0: not visible in this process's namespace
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
    """True if no process listens there any more."""
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
    """Remove the sockets that processes have left behind when they ended."""
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
    for connection, session in list(_talks.items()):
        if session is None:
            connection.close()
        else:
            session.after_fork()
    _talks.clear()
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


# ---------------------------------------------------------------- the threads


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
                if len(_talks) >= _MOST_TALKS:
                    raise RuntimeError
                _talks[connection] = None
                _start(_talk, (connection,))
            except Exception:  # too many; or there are no new threads any more
                _talks.pop(connection, None)
                connection.close()
    finally:
        count_out()


def call_back(path):
    """Connect to the socket at `path`, and answer its owner. In a thread that `sys.remote_exec` has started."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(_REQUEST_SECONDS)
    connection.connect(path)
    _talks[connection] = None
    _talk(connection)


def _talk(connection):
    count_in()
    try:
        if peer_of(connection) in (posix.geteuid(), 0):  # otherwise it is another user's
            _answer(connection)
            if _talks[connection] is None:
                # Read what it still sends: closing with unread data would be an error for the client.
                connection.shutdown(_socket.SHUT_WR)
                connection.settimeout(_REQUEST_SECONDS)
                while connection.recv(1000):
                    pass
    except Exception:
        pass  # the client has hung up
    finally:
        if _talks.pop(connection, None) is None:
            connection.close()
        count_out()


def _answer(connection):
    connection.settimeout(_REQUEST_SECONDS)
    request = b""
    while b"\n" not in request and len(request) < 100:
        received = connection.recv(100)
        if not received:
            return
        request += received
    connection.settimeout(_ANSWER_SECONDS)
    line, _, more = request.partition(b"\n")  # the request that ends a trace may follow at once
    words = line.split()
    if len(words) == 2 and words[0] == b"top":
        _sample(connection, min(max(float(words[1]), 0.05), 3600.0))
    elif len(words) == 3 and words[0] == b"trace":
        _trace(connection, int(words[1]), float(words[2]), bool(more))
    elif words == [b"attach"]:
        _attach(connection)
    else:
        _look(connection)


def _send(connection, found):
    connection.sendall(json.dumps(found).encode() + b"\n")


def _look(connection):
    try:
        found = _probe.collect()
    except Exception as exc:
        found = {"version": 1, "error": f"{type(exc).__name__}: {exc}"}
    greenlets = found.pop("greenlets", [])
    _send(connection, found)
    for begin in range(0, len(greenlets), _PART):
        _send(connection, greenlets[begin : begin + _PART])


def _trace(connection, events, seconds, ended):
    """Record for as long as the client asked, or until it sends something or hangs up."""
    found = _probe.trace_start(events, seconds)
    if "error" not in found:
        connection.settimeout(seconds)
        try:
            if not ended:
                connection.recv(1)
        except OSError:
            pass  # the time is over; or it has hung up, and the trace is to end
        found = _probe.trace_stop()
    connection.settimeout(_ANSWER_SECONDS)
    _send(connection, found)


def _sample(connection, seconds):
    """Send the present state, then, until the client hangs up, what was seen in each period of so many seconds."""
    sampler = Sampler()
    try:
        _send(connection, {**_probe.facts(), **tally(), **sampler.result()})
        while True:
            end = monotonic() + seconds
            while (left := end - monotonic()) > 0:
                sampler.watch(min(left, _SLICE_SECONDS))
                if _hung_up(connection):
                    return
            _send(connection, {**_probe.facts(), **tally(), **sampler.result()})
    finally:
        sampler.close()


def _hung_up(connection):
    connection.settimeout(0)
    try:
        return not connection.recv(1, _socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(_ANSWER_SECONDS)


def _attach(connection):
    from gevlite import _session

    hub = _session.hub_to_attach_to()
    if hub is None:
        _send(connection, {"error": "no thread of it has a hub"})
        return
    session = _session.Session(connection, hub)
    _talks[connection] = session
    session.serve()


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
    fd, path = 2, None
    try:
        path = config.dump_file
        if path is not None:
            fd = _open_for_reports(path)
    except Exception as exc:
        reason = f"{exc.strerror or exc}: {path}" if isinstance(exc, OSError) else exc
        text = f"gevlite: not in GEVLITE_DUMP_FILE: {reason}\n{text}"
    try:
        rest = text.encode("utf-8", "backslashreplace")
        while rest:
            rest = rest[posix.write(fd, rest) :]
    except Exception:
        pass  # a full disk, or no stderr
    finally:
        if fd != 2:
            posix.close(fd)


def _open_for_reports(path):
    """Refuses anything but a regular file: a FIFO, for example, could block the process."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    fd = posix.open(path, flags, 0o600)
    if not stat.S_ISREG(posix.fstat(fd).st_mode):
        posix.close(fd)
        raise OSError("it is not a regular file")
    return fd
