"""`python -m gevlite ps` and its kin: ask a running process what its greenlets do, and show it."""

import json
import marshal
import os
import shutil
import socket
import sys
import tempfile
import time

from gevlite import _door, _probe
from gevlite._report import Report, fit

# The seconds that a process has to answer.
ANSWER_SECONDS = 10.0


class CannotLook(Exception):
    """Why there is no report, and what to do about it."""


def main(options):
    """Run `ps`, `tree`, `dump` or `stats`; returns the exit code."""
    if options.pid is None:
        return _list(options)
    try:
        reports = _reports(options.pid, options.timeout)
    except CannotLook as exc:
        print(f"gevlite: {exc}", file=sys.stderr)
        return 1
    try:
        if options.json:
            found = [report.as_json() for report in reports]
            print(json.dumps(found[0] if len(found) == 1 else found, indent=2))
        else:
            width = _width(options.width)
            print("\n".join(fit(getattr(report, options.screen)(), width) for report in reports), end="")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush at exit
    return 0


def _width(wanted):
    if wanted:
        return wanted
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _reports(pid, timeout):
    """The report of the process; without a hub there, also those of its children."""
    problem = report = None
    try:
        report = _report(pid, timeout)
        if report.hubs:
            return [report]
    except CannotLook as exc:
        problem = exc
    children = []
    for child in children_of(pid):
        try:
            children.append(_report(child, timeout))
        except CannotLook:
            pass
    children = [child for child in children if child.hubs]
    if children:
        print(f"gevlite: process {pid} has no hub; these are its children", file=sys.stderr)
        return children
    if report is None:
        raise problem
    return [report]


def _report(pid, timeout):
    uid = user_of(pid)
    raw = _by_socket(pid, uid, timeout)
    if raw is None:
        raw = _by_remote_exec(pid, uid, timeout)
    if "error" in raw:
        raise CannotLook(f"process {pid}: {raw['error']}")
    report = Report(raw)
    _add_connects(report)
    return report


def _must_exist(pid, otherwise):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
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


def _by_socket(pid, uid, timeout):
    """What the process answers at its socket; None if it has none."""
    connection = connect(pid, uid, timeout)
    if connection is None:
        return None
    with connection:
        raw, *parts = ask(connection, pid, timeout, b"look\n")
    raw["greenlets"] = [row for part in parts for row in part]
    return raw


def connect(pid, uid, timeout):
    """A connection to the socket of a process; None if it has none."""
    for folder in _door.folders(uid):
        path = os.path.join(folder, _door.socket_name(pid))
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            if _door.is_private(folder, uid) and os.lstat(path).st_uid in (uid, 0, os.geteuid()):
                connection.connect(path)
                if _door.peer_of(connection) in (None, uid, 0):
                    return connection
        except TimeoutError:
            connection.close()
            raise CannotLook(_silent(pid, timeout)) from None
        except OSError:
            pass  # there is none, or what is there is from another process that has ended
        connection.close()
    return None


def ask(connection, pid, timeout, request, wait=None):
    """Send a request; the lines of the answer, each from JSON. wait: called between the two."""
    try:
        connection.sendall(request)
        if wait is not None:
            wait()
        with connection.makefile("rb") as file:
            lines = [json.loads(line) for line in file]
    except TimeoutError:
        raise CannotLook(_silent(pid, timeout)) from None
    except (OSError, ValueError) as exc:
        raise CannotLook(f"process {pid} has not answered: {exc}") from None
    if not lines:
        raise CannotLook(f"process {pid} has hung up")
    return lines


def _silent(pid, timeout):
    return (
        f"process {pid} has not answered for {timeout:g} s: C code holds the GIL, or the process is stopped. "
        "A debugger such as gdb or py-spy shows where"
    )


# ---------------------------------------------------------------- by sys.remote_exec


def _by_remote_exec(pid, uid, timeout):
    return run_there(pid, uid, timeout, "collect", 2)


def run_there(pid, uid, timeout, function, *arguments):
    """What a function of `_probe` returns in that process, by `sys.remote_exec`."""
    remote_exec = getattr(sys, "remote_exec", None)
    if remote_exec is None:
        raise CannotLook(_unprepared(pid, "before Python 3.14 it has to be prepared"))
    folder = tempfile.mkdtemp(prefix="gevlite-ps-")
    script, answer = os.path.join(folder, "script.py"), os.path.join(folder, "answer")
    taken = False
    try:
        with open(_probe.__file__, encoding="utf-8") as file:
            source = file.read()
        # In a namespace of its own: that of the program is not touched.
        with open(script, "w", encoding="utf-8") as file:
            file.write(
                f"exec(compile({source!r}, 'gevlite/_probe.py', 'exec'), ns := {{}}); "
                f"ns['deliver']({answer!r}, *{(function, *arguments)!r})\n"
            )
        if uid != os.geteuid():
            os.chown(script, uid, -1)
            os.chown(folder, uid, -1)
        try:
            remote_exec(pid, script)
        except Exception as exc:
            raise CannotLook(_refused(pid, exc)) from None
        end = time.monotonic() + timeout
        while not os.path.exists(answer):
            if time.monotonic() > end:
                with open(script, "w", encoding="utf-8"):
                    pass  # it runs at some time, and then does nothing
                taken = True
                raise CannotLook(_blocked(pid, timeout))
            _must_exist(pid, f"process {pid} has ended")
            time.sleep(0.005)
        return _read(answer, uid)
    finally:
        if not taken:
            shutil.rmtree(folder, ignore_errors=True)


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
    hint = _signal_hint(pid)
    return (
        f"cannot look into process {pid}: {why}.\n"
        "Start it with GEVLITE_INSPECT=1 in its environment, or `gevlite.config.inspect = True` before the first hub, "
        "as the same user; or with GEVLITE_DUMP_SIGNAL=USR1, and send it that signal: it writes the report to its "
        f"stderr.{hint}"
    )


def _signal_hint(pid):
    """If the process has been prepared in the other way."""
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


# ---------------------------------------------------------------- what /proc has


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
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if parent == pid:
                found.append(int(name))
    return sorted(found)


def _add_connects(report):
    """Where a socket connects to is known to the kernel only, as long as it does."""
    for one in report.greenlets:
        if one.waits_for == "connect" and one.fd >= 0:
            address = _connects_to(report.pid, one.fd)
            if address:
                one.waits_for = f"connect to {address}"


def _connects_to(pid, fd):
    try:
        inode = os.readlink(f"/proc/{pid}/fd/{fd}").removeprefix("socket:[").removesuffix("]")
        for name, family, size in (("tcp", socket.AF_INET, 8), ("tcp6", socket.AF_INET6, 32)):
            with open(f"/proc/{pid}/net/{name}") as file:
                for line in file:
                    fields = line.split()
                    if len(fields) > 9 and fields[9] == inode:
                        host, port = fields[2].split(":")
                        words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, size, 8)]
                        text = socket.inet_ntop(family, b"".join(words))
                        return f"[{text}]:{int(port, 16)}" if family == socket.AF_INET6 else f"{text}:{int(port, 16)}"
    except (OSError, ValueError):
        pass
    return None


# ---------------------------------------------------------------- without a number


def _list(options):
    """All processes of this user that have a socket."""
    uid = os.geteuid()
    found = []
    for folder in _door.folders(uid):
        if _door.is_private(folder, uid):
            for name in sorted(os.listdir(folder)):
                pid = name.removesuffix(".sock")
                if pid.isdigit() and name != pid:
                    try:
                        raw = _by_socket(int(pid), uid, options.timeout)
                    except CannotLook:
                        continue
                    if raw is not None and "error" not in raw:
                        found.append(Report(raw))
    if options.json:
        print(json.dumps([report.as_json() for report in found], indent=2))
        return 0
    if not found:
        print("No process of this user has been started with GEVLITE_INSPECT=1. Give the number of a process.")
        return 0
    lines = [(0, f"{report.pid}: {' '.join(report.program)}, {len(report.greenlets)} greenlets") for report in found]
    print(fit(lines, _width(options.width)), end="")
    return 0
