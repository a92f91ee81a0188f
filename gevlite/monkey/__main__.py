"""`python -m gevlite.monkey [option ...] script.py | -m module | -c code | - [args]`: run a program patched.

`python -m gevlite run` is the same. The program runs as `__main__`, with sys.argv and sys.path as if Python had started
it directly. With `-i` a prompt follows it (`gevlite._prompt`). With `--check` only its imports are executed, and a
report lists what would still block (`_check`).
"""

import dataclasses
import inspect
import sys

from gevlite import _blocked, _slices, monkey
from gevlite._config import config
from gevlite._program import UsageError, execute, find_code, find_input, find_module, find_script

AREAS = tuple(name for name in inspect.signature(monkey.patch_all).parameters if name not in ("Event", "fix", "strict"))
# This is not an area, but an option for patching.
MANNERS = {"aggressive"}
# Options without a value, each with the attribute of `Command` that it sets.
FLAGS = {"--check": "check", "--watch": "watch", "-i": "interactive"}
# Options with one: `--trace FILE` or `--trace=FILE`.
VALUES = {"--trace": "trace", "--trace-events": "events", "--time-slice": "time_slice"}
NAME = "python -m gevlite.monkey"

USAGE = f"""\
usage: {{name}} [option ...] script.py [argument ...]
       {{name}} [option ...] -m module [argument ...]
       {{name}} [option ...] -c code [argument ...]
       {{name}} [option ...] - [argument ...]
       {{name}} --check [option ...] script.py | -m module
       {{name}} --check --watch [option ...] script.py | -m module [argument ...]

Patch the standard library, then run the script, module or code as Python would; - is the program in standard input.

  -i                 a prompt follows, with the program's names; greenlets run while it waits for input
  --check            carry out only its imports, report what would still block all greenlets; 1 if there is any
  --check --watch    run it, and report at its end which lines really blocked, and for how long; 1 if there are any
  --trace FILE       record who runs when and what greenlets wait for: see gevlite.trace
  --trace-events N   the size of its buffer
  --time-slice N     a greenlet that computes for more than N seconds gives way to the others; 0.01 is a good value
  --no-AREA          leave an area as it is: {", ".join(AREAS)}
  --AREA             patch only this one, and those named in the same way
  -h, --help         print this text
"""


@dataclasses.dataclass
class Command:
    """The parsed command line."""

    options: dict[str, bool] = dataclasses.field(default_factory=dict)  # for patch_all
    check: bool = False
    watch: bool = False
    interactive: bool = False
    kind: str | None = None  # of the program: "-m", "-c", "-" or "script"
    what: str = ""  # its name, path or code
    arguments: list[str] = dataclasses.field(default_factory=list)  # the program's
    trace: str | None = None
    events: int | None = None  # of the trace
    time_slice: str | None = None  # None: by the setting

    def find(self):
        if self.kind == "-":
            return find_input(self.arguments)
        find = {"-m": find_module, "-c": find_code, "script": find_script}[self.kind]
        return find(self.what, self.arguments)


def parse(arguments, name=NAME):
    """A `Command`. Raises UsageError."""
    command = Command()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in ("-h", "--help"):
            raise SystemExit(print(USAGE.format(name=name), end=""))
        if argument in ("-m", "--module", "-c"):
            if not rest:
                raise UsageError(f"{argument} needs {'the code' if argument == '-c' else 'the name of a module'}")
            command.kind, command.what = "-c" if argument == "-c" else "-m", rest.pop(0)
        elif argument == "-":
            command.kind = "-"
        elif not argument.startswith("-"):
            command.kind, command.what = "script", argument
        elif argument in FLAGS:
            setattr(command, FLAGS[argument], True)
        elif argument.partition("=")[0] in VALUES:
            _set_value(command, argument, rest)
        else:
            _set_area(command.options, argument)
        if command.kind is not None:
            command.arguments = rest
            if command.watch and not command.check:
                raise UsageError("--watch goes with --check; without it, gevlite.config.watch is on by itself")
            return command
    if command.interactive and not command.check:
        return command
    raise UsageError("no script and no module given")


def _set_value(command, argument, rest):
    option, equals, value = argument.partition("=")
    if not equals and rest:
        value = rest.pop(0)
    if not value:
        raise UsageError(f"{option} needs a value")
    if option == "--trace-events":
        if not value.isdigit() or int(value) < 1000:
            raise UsageError("--trace-events needs a number of at least 1000")
        value = int(value)
    setattr(command, VALUES[option], value)


def _set_area(options, argument):
    wanted = not argument.startswith("--no-")
    area = argument.removeprefix("--" if wanted else "--no-")
    if not argument.startswith("--") or area not in AREAS:
        raise UsageError(f"unknown option {argument}; --help lists the options")
    if wanted and True not in options.values():
        options.update({other: False for other in set(AREAS) - MANNERS if other not in options})
    options[area] = wanted


def _slice(seconds):
    try:
        _slices.for_new_hub(seconds, "--time-slice")  # also reports a wrong GEVLITE_TIME_SLICE
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    if seconds is not None:
        config.time_slice = seconds


def _watch(seconds):
    try:
        _blocked.by_default(seconds)
    except ValueError as exc:
        raise UsageError(str(exc)) from None


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
    _watch(_blocked.DEFAULT_SECONDS)
    at_prompt = command.kind == "-" and sys.stdin is not None and sys.stdin.isatty()

    def find():
        program = None if command.kind is None or at_prompt else command.find()
        if begin_trace is not None:
            begin_trace()
        return program

    if command.interactive or at_prompt:
        from gevlite import _prompt

        return _prompt.run(find, command.arguments)
    program = find()
    execute(program, program.code)
    return 0


def check(command):
    """Find the program, execute its imports, and report. With `--watch`, run it."""
    from gevlite.monkey import _check, _watched

    if command.watch:
        _watch(_watched.DEFAULT_SECONDS)
        if not config.watch:
            raise UsageError("--watch needs the watch, and GEVLITE_WATCH turns it off")
    before = set(sys.modules)
    program = command.find()
    path = program.path or "<string>"
    if program.source is None:
        raise UsageError(f"no source of {path}")
    code, patches = _check.imports_of(program.source, path)
    if not patches:
        # Finding it has imported the packages that contain it. They must be imported again, patched.
        for name in set(sys.modules) - before:
            del sys.modules[name]
        monkey.patch_all(**command.options)
        if command.kind in ("-m", "script"):
            program = command.find()
        print(f"{path} does not patch by itself: checked as python -m gevlite.monkey runs it.")
    if command.watch:
        return _watched.watched(lambda: execute(program, program.code), path)
    return _check.check(lambda: execute(program, code), path, command.options)


def main(arguments=None, name=NAME):
    """Run the command `name`; returns an exit code, unless the program raises SystemExit."""
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments, name)
        _slice(command.time_slice)
        return check(command) if command.check else run(command)
    except UsageError as exc:
        forms = USAGE.format(name=name).partition("\n\n")[0]  # without the options, which would hide the error
        sys.stderr.write(f"{forms}\n{name.rpartition(' ')[2]}: error: {exc}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
