"""`python -m gevlite.monkey --check`: what would still block all greenlets in a program, without running it.

Of the program's main module, only the imports and the calls that patch are executed, in order; then the objects in
memory are checked. Drivers that the program imports later, or has imported for it by their names, are found in its
source (`_scan`). A program that does not patch by itself is checked as `python -m gevlite.monkey` would run it:
patched first.
"""

import ast
import sys
import warnings

from gevlite import monkey
from gevlite.monkey._drivers import BLOCKING, is_cured
from gevlite.monkey._scan import uses

__all__ = ["BLOCKING", "check", "imports_of"]


# ---------------------------------------------------------------- the program's imports


def imports_of(source, path):
    """`(code with only the imports of a module and its calls that patch, whether there are such calls)`."""
    keep = _Keep()
    tree = ast.fix_missing_locations(keep.visit(ast.parse(source, path)))
    return compile(tree, path, "exec", dont_inherit=True), keep.patches


class _Keep(ast.NodeTransformer):
    """Removes everything from a module except imports, calls that patch, and the branches around these."""

    def __init__(self):
        self.patches = False

    def visit_Module(self, node):
        node.body = self.kept(node.body)
        return node

    def kept(self, statements):
        return [kept for statement in statements if (kept := self.visit(statement)) is not None]

    def generic_visit(self, node):
        return None

    def visit_Import(self, node):
        return node

    visit_ImportFrom = visit_Import

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            function = node.value.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            if name.startswith("patch_"):
                self.patches = True
                return node
        return None

    def visit_If(self, node):
        node.body, node.orelse = self.kept(node.body), self.kept(node.orelse)
        if not node.body and not node.orelse:
            return None
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Try(self, node):
        node.body = self.kept(node.body)
        node.orelse, node.finalbody = self.kept(node.orelse), self.kept(node.finalbody)
        for handler in node.handlers:
            handler.body = self.kept(handler.body) or [ast.Pass()]
        if not node.body and not node.orelse and not node.finalbody:
            return None
        node.body = node.body or [ast.Pass()]
        return node

    visit_TryStar = visit_Try


# ---------------------------------------------------------------- the report


def check(run, path, options):
    """Call `run()`, which executes the imports of the program at `path`, and print a report. Returns the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)  # the report contains it
        run()
    blocking, cured = _extensions(path)
    problems = [*_unpatched(options), *monkey.problems(), *blocking]
    for line in [*problems, *cured]:
        print(line)
    print(f"{path}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'} found.")
    return 1 if problems else 0


# For each area, a name that shows whether it is patched.
_SIGNS = {
    "socket": ("socket", "socket"),
    "dns": ("socket", "getaddrinfo"),
    "time": ("time", "sleep"),
    "select": ("select", "select"),
    "thread": ("_thread", "start_new_thread"),
    "ssl": ("ssl", "SSLContext"),
    "queue": ("queue", "SimpleQueue"),
    "subprocess": ("subprocess", "Popen"),
}


def _unpatched(options):
    for area, (module, name) in _SIGNS.items():
        if module in sys.modules and options.get(area, True) and not monkey.is_object_patched(module, name):
            yield f"not patched: {area}. {module}.{name} is the original, and blocks all greenlets."


def _extensions(path):
    """`(lines about drivers that block, lines about those that would without the patch)`."""
    blocking, cured = [], []
    seen = set()
    for known in BLOCKING:
        if known.module in sys.modules:
            seen.add(known.package)
            if is_cured(known):
                cured.append(f"cured: {known.module} {known.what}, but is told to let others run.")
            else:
                blocking.append(f"C extension: {known.module} {known.what}; {known.remedy}.")
    for use in uses(path):
        known = use.driver
        package = sys.modules.get(known.package)
        if known.package in seen or package is not None and package.__name__ != known.package:
            continue  # reported; or replaced by another one, as PyMySQL does
        if is_cured(known):
            cured.append(f"cured: {known.module} {known.what}, but is told to let others run ({use.where}: {use.how}).")
        else:
            blocking.append(f"C extension: {known.module} {known.what}; {known.remedy} ({use.where}: {use.how}).")
    return blocking, cured
