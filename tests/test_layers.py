"""Which module imports which: from the ground up, in one direction, without a circle.

Both `import` and `cimport` count, in functions too, of every module of the package. docs/design.md has the same list in
words.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"gevlite": ROOT / "gevlite", "gevlite.backends": ROOT / "backends"}

# A module may import modules of its own layer and of those above it in this list. `name.*` is a package.
LAYERS = {
    "ground": "_back_jumps _choice _config _dead_end _excepthook _frames _native_calls _private_names _probe _program"
    " _report _timeline _trace_page _twin _user_line _version exceptions",
    "core": "_array _backend _census _checks _clock _core _debuggers _descriptors _draw _gil _heap _hosted _interrupt"
    " _look _ring _sample _shared _ticker _times _trace",
    "backends": "backends.*",
    "to wait for": "_many _running_loop _threadlock _watch event greenlet local lock queue timeout",
    "many": "_adopted _children _executor _semlock _workers events pool taskgroup threadpool",
    "twins": "_fcntl _fileio _layers _pgwait _rawfile _socketfile _socketio _sslio _subinterpreters builtins"
    " contextvars fileobject os resolver.* select selectors signal socket ssl subprocess thread threading time",
    "hub": "_blocked _console _door _monitor _parts _profile _session _slices ares core hub loop resolver_ares"
    " resolver_thread trace util",
    "package": "gevlite",
    "coroutines": "_aio _aiostream _guest _inner _loop_threads asyncio",
    "servers": "_accesslog _http.* _prompt _proxies _rawsocket _status _tls_environ backdoor baseserver metrics pywsgi"
    " server websocket",
    "patching": "monkey.*",
    "on top": "__main__ _cli.* _startup.* as_gevent integrations.* profile serve.* testing.*",
}

# Modules that import upwards all the same, and why.
EXCEPTIONS = {("monkey", "monkey.__main__"): "main() is gevent's; the command line is not loaded before it is called"}


def modules():
    """`{name: its source files}`, without "gevlite." in front."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*"):
            if path.suffix in (".py", ".pyx", ".pxd", ".pxi"):
                parts = [*package.split("."), *path.relative_to(folder).with_suffix("").parts]
                name = ".".join(part for part in parts if part != "__init__")
                found.setdefault(short(name), []).append(path)
    return found


def short(name):
    return name.removeprefix("gevlite.")


def imports_of(path):
    """`(module, name or None)` for everything of gevlite that the file imports."""
    text = path.read_text()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert not node.level, f"{path}: relative imports are not used here"
                yield from ((node.module, alias.name) for alias in node.names)
        return
    for base, several, one in re.findall(r"^ *from +([\w.]+) +c?import +(?:\(([^)]*)\)|([^\n(]*))", text, re.M):
        names = re.sub(r"#.*", "", several or one)
        yield from ((base, name.split()[0]) for name in names.split(",") if name.strip())
    yield from ((name, None) for name in re.findall(r"^ *c?import +([\w.]+)", text, re.M))


def arrows():
    known = modules()
    found = set()
    for module, paths in known.items():
        for path in paths:
            for base, name in imports_of(path):
                if base.split(".")[0] != "gevlite":
                    continue
                inner = short(f"{base}.{name}")
                target = inner if inner in known else short(base)
                if target in known and target != module:
                    found.add((module, target))
    return found


def layer_of(module):
    for number, members in enumerate(LAYERS.values()):
        for member in members.split():
            package = member.removesuffix(".*")
            if module == package or package != member and module.startswith(package + "."):
                return number
    pytest.fail(f"{module} is in no layer: add it to LAYERS")


def circles(edges):
    """Some circle among `edges`, as a list of modules, or None."""
    after = {}
    for start, end in sorted(edges):
        after.setdefault(start, []).append(end)
    done = set()

    def walk(module, path):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for target in after.get(module, ()):
            circle = walk(target, [*path, module])
            if circle:
                return circle
        done.add(module)
        return None

    for module in list(after):
        circle = walk(module, [])
        if circle:
            return circle
    return None


def test_every_arrow_points_downwards():
    upwards = {arrow for arrow in arrows() if layer_of(arrow[0]) < layer_of(arrow[1])}
    assert upwards == set()


def test_there_are_no_circles():
    edges = arrows()
    assert edges >= EXCEPTIONS.keys(), "an exception that is none any more"
    assert circles(edges - EXCEPTIONS.keys()) is None


def test_circles_are_found():
    assert circles({("a", "b"), ("b", "c")}) is None
    assert circles({("a", "b"), ("b", "c"), ("c", "b")}) == ["b", "c", "b"]


def test_imports_are_found(tmp_path):
    source = "from gevlite import hub\ndef late():\n    import gevlite.os\n"
    more = "from gevlite._core cimport (\n    READ,   # a comment, with a comma\n    Hub,\n)\n"
    (tmp_path / "a.py").write_text(source)
    (tmp_path / "a.pyx").write_text(source + more)
    plain = {("gevlite", "hub"), ("gevlite.os", None)}
    assert set(imports_of(tmp_path / "a.py")) == plain
    assert set(imports_of(tmp_path / "a.pyx")) == plain | {("gevlite._core", "READ"), ("gevlite._core", "Hub")}


def test_the_map_of_the_folder_is_complete():
    """gevlite/README.md has each module, or the folder it is in."""
    words = set(re.findall(r"`([\w/]+)`", (ROOT / "gevlite" / "README.md").read_text()))
    places = {name.partition(".")[0] + "/" * ("." in name) for name in modules()} - {"backends", "gevlite"}
    folders = {place.removesuffix("/") for place in places if place.endswith("/")}
    places = {place for place in places if place not in folders} - {"backends/"}
    assert places - words == set()
    assert words - places - {"gevlite", "backends", "config", "sitecustomize", "__init__"} == set()
