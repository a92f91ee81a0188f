"""Which call of the standard library blocks an OS thread, as far as its innermost frame shows.

`calls_of(frame)` reads the expression that the frame is in the middle of, and looks up what it calls: in dictionaries
only, so that no code of the program runs. `blocking_call` knows which of them wait.
"""

import ast
import linecache
import os
import sys
from itertools import islice
from types import BuiltinFunctionType, MethodWrapperType, ModuleType
from typing import NamedTuple

__all__ = ["BlockingCall", "blocking_call", "calls_of"]


class BlockingCall(NamedTuple):
    """name: `time.sleep`. instead: what to call instead of it. patched: whether its module is patched."""

    name: str
    instead: str
    patched: bool


def _table():
    found = {"time.sleep": ("time.sleep", "gevlite.sleep", "time")}
    groups = (
        ("_socket", "socket", "socket", "getaddrinfo gethostbyname gethostbyname_ex gethostbyaddr getnameinfo"),
        (
            "_socket.socket",
            "socket",
            "socket",
            "_accept connect recv recv_into recvfrom recvfrom_into recvmsg recvmsg_into send sendall sendmsg sendto",
        ),
        ("_ssl._SSLSocket", "SSLSocket", "ssl", "do_handshake read shutdown write"),
        ("select", "select", "select", "select"),
        ("select.poll", "poll", "select", "poll"),
        ("select.epoll", "epoll", "select", "poll"),
        ("select.kqueue", "kqueue", "select", "control"),
        ("_thread.lock", "lock", "threading", "acquire __enter__ acquire_lock"),
        ("_thread.RLock", "RLock", "threading", "acquire __enter__"),
        ("_queue.SimpleQueue", "SimpleQueue", "queue", "get"),
        ("posix", "os", "os", "read readv wait wait3 wait4 waitid waitpid write writev"),
    )
    for owner, shown, module, names in groups:
        for name in names.split():
            word = {"_accept": "accept", "__enter__": "acquire"}.get(name, name)
            found[f"{owner}.{name}"] = (f"{shown}.{word}", f"gevlite.{module}", module)
    return found


_CALLS = _table()
_TWINS = {"queue", "select", "selectors", "socket", "ssl", "subprocess", "threading"}
_STANDARD = os.path.dirname(os.__file__)


def calls_of(frame):
    """What this frame of another thread calls: `["time.sleep"]`; a `with` may enter several. [] if that is unknown."""
    try:
        return [name for node in _callables(frame) if (name := _name_of(node, frame))]
    except Exception:
        return []  # the program may have changed its objects and its source in any way


def blocking_call(frame, calls):
    """The `BlockingCall` that this frame, which is in `calls`, waits in, or None."""
    found = next((_CALLS[name] for name in calls if name in _CALLS), None)
    if found is None:
        return None
    name, instead, module = found
    # The call that the program itself makes, if it is one of the standard library: queue.get waits in a lock.
    while frame is not None and os.path.dirname(frame.f_code.co_filename) == _STANDARD:
        name = frame.f_code.co_qualname
        found = os.path.basename(frame.f_code.co_filename).removesuffix(".py")
        if found in _TWINS:
            instead, module = f"gevlite.{found}", found
        frame = frame.f_back
    return BlockingCall(name, instead, _is_patched(module))


def _is_patched(module):
    engine = sys.modules.get("gevlite.monkey._engine")
    return engine is not None and bool(engine.saved.get("_thread" if module == "threading" else module))


def _callables(frame):
    """The expressions of what it calls, or enters by `with`."""
    code = frame.f_code
    line, end_line, column, end_column = next(islice(code.co_positions(), frame.f_lasti // 2, None))
    lines = [text.encode() for text in linecache.getlines(code.co_filename, frame.f_globals)[line - 1 : end_line]]
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    text = b"".join(lines)
    if text.startswith((b"with ", b"with(")):  # until Python 3.12
        return [ast.Attribute(item.context_expr, "__enter__") for item in ast.parse(text).body[0].items]
    tree = ast.parse(b"(" + text + b")", mode="eval").body
    return [tree.func if isinstance(tree, ast.Call) else ast.Attribute(tree, "__enter__")]


def _name_of(node, frame):
    """`time.sleep`, `_socket.socket.recv`: the function that an expression yields."""
    if isinstance(node, ast.Attribute):
        found, owner = _attribute(_value(node.value, frame), node.attr)
        if owner is not None:
            return f"{owner.__module__}.{owner.__qualname__}.{node.attr}"
    else:
        found = _value(node, frame)
    if type(found) not in (BuiltinFunctionType, MethodWrapperType):
        return None
    home = found.__self__
    if isinstance(home, ModuleType):
        return f"{home.__name__}.{found.__name__}"
    _, owner = _attribute(home, found.__name__)
    return f"{owner.__module__}.{owner.__qualname__}.{found.__name__}"


def _value(node, frame):
    if isinstance(node, ast.Name):
        for names in (frame.f_locals, frame.f_globals, frame.f_builtins):
            if node.id in names:
                return names[node.id]
    if isinstance(node, ast.Attribute):
        found, owner = _attribute(_value(node.value, frame), node.attr)
        if owner is None:
            return found
    raise LookupError


def _attribute(thing, name):
    """`(value, None)` from its own dictionary, or `(value, class)` from that of a class."""
    try:
        own = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        own = {}
    if name in own:
        return own[name], None
    for cls in type.__getattribute__(type(thing), "__mro__"):
        found = type.__getattribute__(cls, "__dict__")
        if name in found:
            return found[name], cls
    raise LookupError
