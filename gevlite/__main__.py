"""`python -m gevlite`: look into a process, show a demo or the installation, serve, run a script with patching."""

import argparse
import sys

from gevlite._version import __version__


def main(argv=None):
    """Run the command line `argv` (without the program's name) and return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        return _prompt()
    parser = argparse.ArgumentParser(
        prog="python -m gevlite",
        description="Coroutine-based networking for Python: ordinary blocking code, run as greenlets.",
        epilog="Without a command: a prompt in which greenlets run while it waits for input, with the standard library "
        "patched; or, if standard input is no terminal, the program that it contains.",
    )
    parser.add_argument("--version", action="version", version=f"gevlite {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)

    demo = commands.add_parser("demo", help="fetch many slow URLs at once with the patched standard library")
    demo.add_argument("--count", type=_count, default=20, metavar="N", help="how many requests (default: 20)")
    demo.add_argument(
        "--longest", type=_seconds, default=2.0, metavar="SECONDS", help="delay of the slowest answer (default: 2)"
    )
    demo.add_argument("--plain", action="store_true", help="ASCII only and no moving line, for pipes and logs")
    demo.set_defaults(run=_demo)

    info = commands.add_parser("info", help="print versions, the backends, which one is used, and the stack cache")
    info.set_defaults(run=_info)

    for name, purpose in (
        ("ps", "show what each greenlet of a running process does and waits for; equal ones together"),
        ("tree", "the same: each greenlet below the one that spawned it"),
        ("dump", "the same with the stack of each"),
        ("stats", "the counters of each hub of a running process"),
    ):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("pid", type=int, nargs="?" if name == "ps" else None, metavar="PID", help="of the process")
        command.add_argument("--json", action="store_true", help="as JSON, described in docs/debugging.md")
        command.add_argument("--width", type=_columns, metavar="N", help="columns (default: those of the terminal)")
        _add_timeout(command)
        command.set_defaults(run=_ps, screen=name)

    trace = commands.add_parser(
        "trace",
        help="record a running process: who runs when, what greenlets wait for, who wakes them; or show such a file",
        description="Record a running process for some seconds, in the format of Chrome's trace events "
        "(for https://ui.perfetto.dev), or as a page of its own. See docs/tracing.md.",
    )
    trace.add_argument("target", metavar="PID|FILE", help="a process; or, with --html, a file that was recorded")
    trace.add_argument(
        "--seconds", type=_seconds, default=5.0, metavar="N", help="for how long (default: 5); Ctrl+C ends it earlier"
    )
    trace.add_argument("-o", "--output", metavar="FILE", help="where to (default: trace-PID.json, or FILE.html)")
    trace.add_argument("--html", action="store_true", help="as a page that shows itself in a browser")
    trace.add_argument(
        "--events", type=_events, metavar="N", help="the size of the buffer; the oldest are dropped (default: 500000)"
    )
    _add_timeout(trace)
    trace.set_defaults(run=_trace)

    top = commands.add_parser("top", help="the same as ps for watching: what runs, how often, and what grows")
    top.add_argument("pid", type=int, metavar="PID", help="of the process")
    top.add_argument("--interval", type=_seconds, default=2.0, metavar="SECONDS", help="between two looks (default: 2)")
    top.add_argument("--count", type=_count, metavar="N", help="end after N looks (default: go on until Ctrl-C)")
    top.add_argument("--width", type=_columns, metavar="N", help="columns (default: those of the terminal)")
    _add_timeout(top)
    top.set_defaults(run=_top)

    attach = commands.add_parser(
        "attach", help="a Python prompt in a running process; without a terminal, run what stdin contains"
    )
    attach.add_argument("pid", type=int, metavar="PID", help="of the process")
    _add_timeout(attach)
    attach.set_defaults(run=_attach)

    for name, run, purpose in (
        ("serve", _serve, "serve a WSGI application with several processes; see python -m gevlite serve --help"),
        ("run", _run, "run a script, module or code under monkey patching; the same as python -m gevlite.monkey"),
    ):
        # Everything that follows is passed on, even if it looks like an option.
        command = commands.add_parser(name, help=purpose, add_help=False, prefix_chars="\0")
        command.add_argument("rest", nargs=argparse.REMAINDER)
        command.set_defaults(run=run)

    mistake = _mistake(argv[0], commands.choices)
    if mistake is not None:
        parser.error(mistake)
    options = parser.parse_args(argv)
    return options.run(options)


def _add_timeout(command):
    command.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for its answer (default: 10)",
    )


def _mistake(word, commands):
    """What is wrong with the first word of a command line, and the word that was probably meant."""
    if word in ("-", "-c", "-i", "-m") or word.endswith(".py"):
        return f"to run a program: python -m gevlite run {word} ..."
    if word in commands or word.startswith("-"):
        return None
    import difflib

    near = difflib.get_close_matches(word, commands, 1)
    return f"there is no command {word!r}; did you mean {near[0]}?" if near else None


# More requests would use up the ports of one address.
_MOST = 10_000


def _count(text):
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MOST}, not {text!r}")
    return int(text)


def _columns(text):
    columns = int(text)
    if columns < 20:
        raise argparse.ArgumentTypeError("must be at least 20")
    return columns


def _events(text):
    events = int(text)
    if not 1000 <= events <= 50_000_000:
        raise argparse.ArgumentTypeError("must be at least 1000 and at most 50000000")
    return events


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be seconds, more than 0 and at most 3600, not {text!r}")
    return seconds


def _demo(options):
    if not _hub_works():
        return 2
    from gevlite._cli import demo

    try:
        return _to_reader(lambda: demo.main(options.count, options.longest, options.plain))
    except demo.DemoError as exc:
        print(f"gevlite demo: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _to_reader(command):
    """Return what `command()` returns. If nothing reads standard output any more, one line says so."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        import os

        # The interpreter flushes stdout when it exits, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print("gevlite: the output ends early, because its reader has closed it", file=sys.stderr)
        return 1


def _info(options):
    if not _hub_works():
        return 2
    from gevlite._cli import info

    return _to_reader(lambda: info.print_report(sys.stdout) or 0)


def _any_text(command, options):
    """Return what `command(options)` returns. Characters that stdout's encoding lacks are shown as escapes."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    return command(options)


def _ps(options):
    from gevlite._cli import ps

    return _any_text(ps.main, options)


def _trace(options):
    from gevlite._cli import trace

    return _any_text(trace.main, options)


def _top(options):
    from gevlite._cli import top

    return _any_text(top.main, options)


def _attach(options):
    from gevlite._cli import attach

    return _any_text(attach.main, options)


def _serve(options):
    from gevlite.serve import _command

    return _command.main(options.rest)


def _run(options):
    from gevlite.monkey import __main__ as command

    return command.main(options.rest, "python -m gevlite run")


def _prompt():
    """Without a command: a prompt, or the program in standard input, both patched."""
    return _run(argparse.Namespace(rest=["-"]))


def _hub_works():
    """Make the hub, so that a wrong GEVLITE_BACKEND or GEVLITE_STACK_CACHE is reported in one line."""
    import gevlite

    try:
        gevlite.get_hub()
    except (gevlite.backends.BackendError, ValueError) as exc:
        print(f"gevlite: {exc}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
