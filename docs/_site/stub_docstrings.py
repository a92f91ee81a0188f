"""Copies docstrings into the stubs, where editors and the API reference read them.

    python docs/_site/stub_docstrings.py            # write what is missing or out of date
    python docs/_site/stub_docstrings.py --check    # only name it, and exit with status 1

The one source is the module: its docstrings, as `help()` shows them, and for attributes the `#:` comments in front of
them. A module that cannot be imported here, a backend of another system for example, keeps what its stub has. Of an
overloaded function the first overload gets the docstring.
"""

import argparse
import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {ROOT / "gevlite": "gevlite", ROOT / "backends": "gevlite.backends"}


def stubs():
    """`(path, name of the module)` of each stub."""
    for folder, package in FOLDERS.items():
        for path in sorted(folder.rglob("*.pyi")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            yield path, ".".join(part for part in parts if part != "__init__")


def comments(path):
    """`{"Class.name" or "name": text}`: the `#:` comments in the source of a stub."""
    found, owner, lines = {}, "", []
    source = next(p for p in (path.with_suffix(".pyx"), path.with_suffix(".py")) if p.exists())
    for line in source.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(?:cdef )?class (\w+)", line):
            owner = match[1] + "."
        elif re.match(r"\w", line):
            owner = ""
        if match := re.match(r"\s*#: ?(.*)", line):
            lines.append(match[1])
            continue
        if lines and (match := re.match(r"\s*(?:cdef (?:public|readonly) \w+ |self\.)?(\w+)", line)):
            found[owner + match[1]] = "\n".join(lines)
        lines = []
    return found


def is_original(value):
    """A function or class of the standard library, or a function that a twin has made of its code."""
    value = inspect.unwrap(value)
    code = getattr(value, "__code__", None)
    if inspect.isclass(value) or code is None:
        return not (getattr(value, "__module__", None) or "gevlite").startswith("gevlite")
    folder = sysconfig.get_path("stdlib") + os.sep
    return code.co_filename.startswith(folder) and "site-packages" not in code.co_filename


def docstring(owner, name):
    """That of an attribute; None if it is not known here, or not by us."""
    if isinstance(owner, type):
        maker = next((cls for cls in owner.__mro__ if name in vars(cls)), None)
        if maker is None or not maker.__module__.startswith("gevlite"):
            return None
        value = vars(maker)[name]
        value = getattr(value, "__func__", value)  # of a classmethod or staticmethod
        foreign = [cls for cls in owner.__mro__ if not cls.__module__.startswith("gevlite")]
    else:
        value, foreign = getattr(owner, name, None), []
        if value is None or is_original(value):
            return None
    if inspect.isclass(value) and (value.__name__ != name or is_original(value)):
        return None  # another name for it, or not ours in this version of Python
    if not (inspect.isdatadescriptor(value) or callable(value)):
        return None
    doc = vars(value).get("__doc__") if inspect.isclass(value) else getattr(value, "__doc__", None)
    if not isinstance(doc, str) or doc is type(value).__doc__ and not inspect.isclass(value):
        return ""
    if any(getattr(vars(cls).get(name), "__doc__", None) == doc for cls in (*foreign, object, type)):
        return ""  # taken over from the original
    # What Python itself writes on a slot, for example "Return self==value."
    return "" if type(value).__name__ == "wrapper_descriptor" and "\n" not in doc and "`" not in doc else doc


def wanted(tree, module, remarks):
    """`(node, following node or None, docstring)` for each thing in the stub; "" if it has none, None if unknown."""

    def walk(nodes, owner, prefix):
        done = set()
        for node, following in zip(nodes, [*nodes[1:], None], strict=False):
            if isinstance(node, ast.If):
                yield from walk(node.body, owner, prefix)
                yield from walk(node.orelse, owner, prefix)
            elif isinstance(node, ast.ClassDef):
                cls = getattr(owner, node.name, None)
                if inspect.isclass(cls):
                    yield node, following, docstring(owner, node.name)
                    yield from walk(node.body, cls, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name not in done:
                    yield node, following, remarks.get(prefix + node.name) or docstring(owner, node.name)
                    done.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                yield node, following, remarks.get(prefix + name) or docstring(owner, name)

    yield tree, None, module.__doc__ or ""
    yield from walk(tree.body, module, "")


def text(node):
    """The string that this statement is, or None."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None


def literal(doc, indent):
    doc = textwrap.indent(doc, " " * indent, lambda line: line.strip()).lstrip()
    prefix = "r" if "\\" in doc else ""
    end = f"\n{' ' * indent}" if "\n" in doc else ""
    if not end and doc.endswith('"'):
        doc = f'{doc[:-1]}\\"'
    return f'{" " * indent}{prefix}"""{doc}{end}"""'


def updated(source, module, remarks):
    """The stub with its docstrings, and the names of what was not up to date."""
    tree = ast.parse(source)
    lines = source.splitlines()
    stale, edits = [], []  # (first line, last line, lines to put there), counted from 0, the last one not included
    for node, following, doc in wanted(tree, module, remarks):
        attribute = isinstance(node, ast.AnnAssign)
        old = following if attribute else node.body[0] if node.body else None
        if doc is None or inspect.cleandoc(doc) == inspect.cleandoc(text(old) or ""):
            continue
        doc = inspect.cleandoc(doc)
        stale.append(getattr(node, "name", None) or (node.target.id if attribute else "the module"))
        if not doc:
            edits.append((old.lineno - 1, old.end_lineno, []))
            if not attribute and len(node.body) == 1:
                edits.append((old.lineno - 2, old.lineno - 1, [lines[old.lineno - 2] + " ..."]))
        elif isinstance(node, ast.Module):
            new = [literal(doc, 0), *([] if text(old) is not None else [""])]
            edits.append((0, old.end_lineno if text(old) is not None else 0, new))
        elif text(old) is not None:
            edits.append((old.lineno - 1, old.end_lineno, [literal(doc, old.col_offset)]))
        elif attribute:
            edits.append((node.end_lineno, node.end_lineno, [literal(doc, node.col_offset)]))
        elif old.lineno == node.lineno or lines[old.lineno - 1][: old.col_offset].strip():  # `def f() -> None: ...`
            head = lines[old.lineno - 1][: old.col_offset].rstrip()
            edits.append((old.lineno - 1, old.end_lineno, [head, literal(doc, node.col_offset + 4)]))
        else:
            first = min([old.lineno, *(d.lineno for d in getattr(old, "decorator_list", ()))]) - 1
            edits.append((first, first, [literal(doc, node.col_offset + 4)]))
    for first, last, new in sorted(edits, reverse=True):
        lines[first:last] = new
    return "\n".join(lines) + "\n", stale


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with status 1 if something is stale")
    check = parser.parse_args().check
    found = False
    for path, name in stubs():
        try:
            module = importlib.import_module(name)
        except ImportError as exc:
            print(f"{path.relative_to(ROOT)}: left as it is ({exc})")
            continue
        source = path.read_text(encoding="utf-8")
        new, stale = updated(source, module, comments(path))
        if stale:
            found = True
            print(f"{path.relative_to(ROOT)}: {', '.join(stale)}")
            if not check:
                path.write_text(new, encoding="utf-8")
    if found and check:
        print("write them: python docs/_site/stub_docstrings.py")
    elif found:
        ruff = shutil.which("ruff", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
        if ruff:
            subprocess.run([ruff, "format", "-q", *FOLDERS], check=True)
        else:
            print("then: ruff format gevlite backends")
    return int(check and found)


if __name__ == "__main__":
    sys.exit(main())
