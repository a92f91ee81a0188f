"""Every public name is in the API reference and has a docstring, and editors and `help()` can show it."""

import importlib
import inspect
import pydoc
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import gevlite

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "docs" / "_site"
sys.path.insert(0, str(SITE))
try:
    import public
finally:
    sys.path.remove(str(SITE))

MODULES = list(public.modules())
# Their own names are in other modules.
NOT_FOR_USERS = {"gevlite.__main__", "gevlite.integrations", "gevlite.monkey.__main__"}


def load(module):
    optional = {"resolver.ares": "pycares", "resolver_ares": "pycares", "ares": "pycares", "pywsgi": "httptools"}
    optional |= {"resolver.dnspython": "dns.asyncbackend", "websocket": "websockets", "serve": "httptools"}
    optional |= {f"integrations.{name}": name for name in ("celery", "gunicorn", "psycopg2")}
    if needed := optional.get(module.removeprefix("gevlite.")):
        pytest.importorskip(needed)
    return importlib.import_module(module)


def names_at_run_time(module):
    """The names of a twin that it does not take over unchanged from the original."""
    found = {name for kind in ("all", "implements", "extensions") for name in getattr(module, f"__{kind}__", ())}
    found -= {*getattr(module, "__imports__", ())}
    return {name for name in found if not name.startswith("_") or name == "__version__"}


def objects():
    """`(path, object)` for each public name, and for the public methods and properties of each class, once."""
    seen = set()
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for attribute in public.names(name):
            value = getattr(module, attribute, None)
            if value is None or id(value) in seen:
                continue
            seen.add(id(value))
            yield f"{name}.{attribute}", value
            if inspect.isclass(value) and value.__module__.startswith("gevlite"):
                for inner, member in vars(value).items():
                    if not inner.startswith("_"):
                        yield f"{name}.{attribute}.{inner}", getattr(member, "__func__", member)


OBJECTS = list(objects())


def test_every_public_module_is_in_the_index_of_the_reference():
    found = {"gevlite", "gevlite.backends"}
    for path in (ROOT / "gevlite").rglob("*"):
        parts = ["gevlite", *path.relative_to(ROOT / "gevlite").with_suffix("").parts]
        if path.suffix in (".py", ".pyx") and not any(part.startswith("_") for part in parts[:-1]):
            name = ".".join(part for part in parts if part != "__init__")
            if not name.rpartition(".")[2].startswith("_"):
                found.add(name)
    missing = found - set(MODULES) - NOT_FOR_USERS
    assert not missing, f"add a row to docs/reference.md for each of {sorted(missing)}, or put it into NOT_FOR_USERS"
    assert set(MODULES) <= found


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_in_the_reference(name):
    module = load(name)
    listed = set(public.names(name))
    missing = names_at_run_time(module) - listed
    assert not missing, f"docs/_site/public.py does not find {sorted(missing)} in {public.source_of(name)}"
    elsewhere = listed - names_at_run_time(module)  # on other systems, in other versions of Python
    if elsewhere:
        original = importlib.import_module(getattr(module, "__target__", name.removeprefix("gevlite.")))
        assert not [one for one in elsewhere if hasattr(module, one) and hasattr(original, one)]


def test_links_of_the_index_lead_to_the_docstrings():
    for name, (link, _) in public.modules().items():
        path = (ROOT / "docs" / link).resolve()
        stub = public.source_of(name).with_suffix(".pyi")
        assert path == (stub if stub.exists() else public.source_of(name)), name


def test_docstrings_of_the_stubs_are_up_to_date():
    command = [sys.executable, SITE / "stub_docstrings.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, f"run: python docs/_site/stub_docstrings.py\n{done.stdout}{done.stderr}"


def is_from_elsewhere(path, value):
    """True if it is another package's, or a method that overrides another package's."""
    if not (getattr(value, "__module__", None) or "gevlite").startswith("gevlite"):
        return True
    if getattr(getattr(value, "__code__", None), "co_filename", "").startswith(sysconfig.get_path("stdlib") + "/"):
        return "site-packages" not in value.__code__.co_filename
    owner, _, name = path.rpartition(".")
    cls = dict(OBJECTS).get(owner)
    others = [base for base in getattr(cls, "__mro__", ()) if not base.__module__.startswith("gevlite")]
    return any(name in vars(base) for base in others)


def test_everything_has_a_docstring():
    without = [
        path
        for path, value in OBJECTS
        if (inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, property))
        and not inspect.getdoc(value)
        and not is_from_elsewhere(path, value)
    ]
    assert not without, f"write a docstring for each of {without}"


def is_constructed_elsewhere(cls):
    """Its constructor is that of another package's compiled class, which may not show its parameters."""
    makers = [next(base for base in cls.__mro__ if name in vars(base)) for name in ("__new__", "__init__")]
    return not any(maker.__module__.startswith("gevlite") for maker in makers)


def test_signatures():
    missing = []
    for path, value in OBJECTS:
        if not callable(value) or not getattr(value, "__module__", "").startswith("gevlite"):
            continue
        try:
            inspect.signature(value)
        except ValueError as exc:
            if not (inspect.isclass(value) and is_constructed_elsewhere(value)):
                missing.append(f"{path}: {exc}")
    assert not missing, "\n".join(missing)


def parameters(text):
    """Names of parameters with their defaults, of a `def` in Cython or a signature line."""
    found = []
    for one in re.split(r",\s*(?![^(]*\))", text.strip()):
        name, _, default = one.partition("=")
        name = name.split()[-1] if name.strip() else ""
        if name and name != "self":
            found.append((name, default.strip()))
    return found


def test_signature_lines_of_compiled_classes_are_true():
    """Cython keeps no signature of a class; `inspect` reads it from the beginning of the docstring."""
    count = 0
    for path in (ROOT / "gevlite").rglob("*.pyx"):
        text = path.read_text(encoding="utf-8")
        for body in re.split(r"^(?=cdef class |class |def |cdef extern)", text, flags=re.MULTILINE):
            line = re.match(r'cdef class (\w+)[^\n]*:\n    """(\w+)\((.*)\)\\n--\\n$', body, re.MULTILINE)
            made = re.search(r"^    def __(?:c?)init__\((.*)\):$", body, re.MULTILINE)
            if "__init__" in body:
                made = re.search(r"^    def __init__\((.*)\):$", body, re.MULTILINE)
            if line:
                count += 1
                assert line[1] == line[2], path
                if made:
                    made = made[1].replace(" not None", "")
                    assert parameters(line[3]) == parameters(made), (path.name, line[1])
    assert count >= 20


def test_help():
    for path, value in OBJECTS:
        if (inspect.isroutine(value) or inspect.isclass(value)) and not is_from_elsewhere(path, value):
            shown = pydoc.plain(pydoc.render_doc(value))
            doc = inspect.getdoc(value)
            assert not doc or doc.partition("\n")[0] in shown, path
    assert "TaskGroup" in pydoc.plain(pydoc.render_doc(gevlite))
