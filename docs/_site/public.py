"""What is public, found in the sources: it needs no compiler. `tests/test_reference.py` compares it with the modules.

A module is public if it is in a row of docs/reference.md. A name is public if its module's `__all__` has it; the twin
of a standard module has all names of the original, and its public ones are those that it does not take over unchanged.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "reference.md"
FOLDERS = {"gevlite.backends": ROOT / "backends"}
OF_TWINS = {"__implements__", "__extensions__", "__extra__", "_FOLLOWERS"}
# Functions that a twin makes of the original's code in a loop.
MADE = {"gevlite.subprocess": ["call", "check_call", "check_output", "getoutput", "getstatusoutput", "run"]}

_ROW = re.compile(r"^\| \[`(gevlite[\w.]*)`\]\(([^)]+)\) \| (.+?) \|$", re.MULTILINE)


def modules():
    """`{name: (file that the index links to, sentence)}` in the order of docs/reference.md."""
    return {name: (link, text) for name, link, text in _ROW.findall(INDEX.read_text(encoding="utf-8"))}


def source_of(module):
    """The module's own file, `.py` or `.pyx`."""
    folder, _, name = module.rpartition(".")
    base = FOLDERS.get(module) or FOLDERS.get(folder, ROOT.joinpath(*folder.split("."))) / name
    found = [base.with_suffix(".pyx"), base.with_suffix(".py"), base / "__init__.py"]
    return next(path for path in found if path.is_file())


def names(module):
    """The public names of a module, sorted, with those that exist only on other systems or versions of Python."""
    path = source_of(module)
    if path.suffix == ".pyx":  # only Cython can parse it
        return sorted(ast.literal_eval(re.search(r"^__all__ = (\[.*?\])", path.read_text(), re.M | re.S)[1]))
    found, twin = set(MADE.get(module, ())), False
    exact = None
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            targets = [node.target.id]
        else:
            continue
        if OF_TWINS & {*targets} or isinstance(node, ast.AugAssign) and "__all__" in targets:
            twin = twin or "__implements__" in targets
            found |= {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        elif "__all__" in targets:
            try:
                exact = ast.literal_eval(node.value)
            except ValueError:
                pass
    return sorted(name for name in {*(exact or ()), *found} if not name.startswith("_") or name == "__version__")


def everything():
    """`module.name` of each public name."""
    return [f"{module}.{name}" for module in modules() for name in names(module)]
