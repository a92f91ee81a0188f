"""`python -m gevlite.monkey [--no-AREA ...] script.py [args]` or `... -m module [args]`: run a program patched.

The program runs as `__main__`, with sys.argv and sys.path as if Python had started it directly. With `--check` only its
imports are executed, and a report lists what would still block (`_check`).
"""

import inspect
import sys
from typing import NamedTuple

from gevlite import monkey
from gevlite._program import UsageError, execute, find_module, find_script

AREAS = tuple(name for name in inspect.signature(monkey.patch_all).parameters if name not in ("Event", "fix", "strict"))
# This is not an area, but an option for patching.
MANNERS = {"aggressive"}

USAGE = f"""\
usage: python -m gevlite.monkey [--no-AREA ... | --AREA ...] script.py [argument ...]
       python -m gevlite.monkey [--no-AREA ... | --AREA ...] -m module [argument ...]
       python -m gevlite.monkey --check [--no-AREA ... | --AREA ...] script.py | -m module

Patch the standard library, then run the script or module as Python would.

  --check     carry out only its imports, report what would still block all greenlets, and end with 1 if there is any
  --no-AREA   leave an area as it is: {", ".join(AREAS)}
  --AREA      patch only this one, and those named in the same way
  -h, --help  print this text
"""


class Command(NamedTuple):
    """The parsed command line."""

    options: dict[str, bool]  # for patch_all
    check: bool
    module: str | None
    script: str | None
    arguments: list[str]  # the program's

    def find(self):
        if self.module is not None:
            return find_module(self.module, self.arguments)
        return find_script(self.script, self.arguments)


def parse(arguments):
    """A `Command`. Raises UsageError."""
    options = {}
    check = False
    for i, argument in enumerate(arguments):
        if argument in ("-h", "--help"):
            raise SystemExit(print(USAGE, end=""))
        if argument in ("-m", "--module"):
            if i + 1 == len(arguments):
                raise UsageError(f"{argument} needs the name of a module")
            return Command(options, check, arguments[i + 1], None, arguments[i + 2 :])
        if not argument.startswith("-"):
            return Command(options, check, None, argument, arguments[i + 1 :])
        if argument == "--check":
            check = True
            continue
        wanted = not argument.startswith("--no-")
        area = argument.removeprefix("--" if wanted else "--no-")
        if area not in AREAS:
            raise UsageError(f"unknown option {argument}")
        if wanted and True not in options.values():
            options = dict.fromkeys(set(AREAS) - MANNERS, False) | options
        options[area] = wanted
    raise UsageError("no script and no module given")


def run(command):
    """Patch, find the program, run it."""
    monkey.patch_all(**command.options)
    program = command.find()
    execute(program, program.code)
    return 0


def check(command):
    """Find the program, execute its imports, and report."""
    from gevlite.monkey import _check

    before = set(sys.modules)
    program = command.find()
    if program.source is None:
        raise UsageError(f"no source of {program.path}")
    code, patches = _check.imports_of(program.source, program.path)
    if not patches:
        # Finding it has imported the packages that contain it. They must be imported again, patched.
        for name in set(sys.modules) - before:
            del sys.modules[name]
        monkey.patch_all(**command.options)
        program = command.find()
        print(f"{program.path} does not patch by itself: checked as python -m gevlite.monkey runs it.")
    return _check.check(lambda: execute(program, code), program.path, command.options)


def main(arguments=None):
    """Run the command; returns an exit code, unless the program raises SystemExit."""
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        return check(command) if command.check else run(command)
    except UsageError as exc:
        sys.stderr.write(f"{USAGE}\ngevlite.monkey: error: {exc}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
