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
usage: python -m gevlite.monkey [--trace FILE] [--no-AREA ... | --AREA ...] script.py [argument ...]
       python -m gevlite.monkey [--trace FILE] [--no-AREA ... | --AREA ...] -m module [argument ...]
       python -m gevlite.monkey --check [--no-AREA ... | --AREA ...] script.py | -m module

Patch the standard library, then run the script or module as Python would.

  --check     carry out only its imports, report what would still block all greenlets, and end with 1 if there is any
  --trace FILE       record who runs when and what greenlets wait for: see gevlite.trace
  --trace-events N   the size of its buffer
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
    trace: str | None = None
    events: int | None = None  # of the trace

    def find(self):
        if self.module is not None:
            return find_module(self.module, self.arguments)
        return find_script(self.script, self.arguments)


def parse(arguments):
    """A `Command`. Raises UsageError."""
    options = {}
    check = False
    trace = events = None
    rest = iter(enumerate(arguments))
    for i, argument in rest:
        if argument in ("-h", "--help"):
            raise SystemExit(print(USAGE, end=""))
        if argument in ("-m", "--module"):
            if i + 1 == len(arguments):
                raise UsageError(f"{argument} needs the name of a module")
            return Command(options, check, arguments[i + 1], None, arguments[i + 2 :], trace, events)
        if not argument.startswith("-"):
            return Command(options, check, None, argument, arguments[i + 1 :], trace, events)
        if argument == "--check":
            check = True
            continue
        option, equals, value = argument.partition("=")
        if option in ("--trace", "--trace-events"):
            if not equals:
                value = next(rest, (0, ""))[1]
            if not value:
                raise UsageError(f"{option} needs a value")
            if option == "--trace":
                trace = value
            elif not value.isdigit() or int(value) < 1000:
                raise UsageError("--trace-events needs a number of at least 1000")
            else:
                events = int(value)
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
    begin_trace = None
    if command.trace is not None:
        from gevlite.trace import _prepare_program

        try:
            begin_trace = _prepare_program(command.trace, command.events)
        except OSError as exc:
            sys.stderr.write(f"gevlite.monkey: error: cannot write the trace to {command.trace}: {exc.strerror}\n")
            return 2
    monkey.patch_all(**command.options)
    program = command.find()
    if begin_trace is not None:
        begin_trace()
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
