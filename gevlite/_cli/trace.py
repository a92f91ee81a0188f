"""`python -m gevlite trace`: record a running process, or make a page of what was recorded."""

import os
import select
import sys
import time

from gevlite._cli.reach import CannotLook, ask, children_of, knock, run_there, user_of
from gevlite._timeline import Timeline, check_file, write_file
from gevlite._trace_page import NotATrace, page, page_of
from gevlite.trace import EVENTS

# If no request ends it, a trace of another process ends by itself, so many seconds after it should.
SPARE_SECONDS = 30.0


def main(options):
    """Run `trace`; returns the exit code."""
    try:
        if options.target.isdigit() and not os.path.exists(options.target):
            return _record(int(options.target), options)
        return _convert(options)
    except CannotLook as exc:
        print(f"gevlite: {exc}", file=sys.stderr)
    except OSError as exc:
        print(f"gevlite: {exc.filename or options.output or options.target}: {exc.strerror or exc}", file=sys.stderr)
    return 1


def _convert(options):
    if not options.html:
        raise CannotLook(f"{options.target} is no number of a process; for a file, --html is needed")
    output = options.output or os.path.splitext(options.target)[0] + ".html"
    with open(options.target, encoding="utf-8") as file:
        try:
            chunks = page([file.read()])
        except UnicodeDecodeError:
            raise CannotLook(f"{options.target}: is not JSON") from None
        except NotATrace as exc:
            raise CannotLook(f"{options.target}: {exc}") from None
    write_file(output, chunks)
    print(output)
    return 0


def _record(pid, options):
    output = options.output or f"trace-{pid}.{'html' if options.html else 'json'}"
    check_file(output)  # before anything is done to the process
    uid = user_of(pid)
    events = options.events or EVENTS
    limit = options.seconds + SPARE_SECONDS
    connection = knock(pid, uid, options.timeout)
    if connection is not None:
        with connection:
            # The answer may take as long as its serialisation does.
            connection.settimeout(limit + options.timeout)
            request = f"trace {events} {limit:g}\n".encode()

            def wait():
                try:
                    answered = select.select([connection], [], [], options.seconds)[0]  # an error comes at once
                except KeyboardInterrupt:
                    answered = None  # keep what has been recorded so far
                if not answered:
                    connection.sendall(b"\n")

            found = ask(connection, pid, options.timeout, request, wait)[0]
    else:
        found = run_there(pid, uid, options.timeout, "trace_start", events, limit)
        if "error" not in found:
            _sleep(options.seconds)
            found = run_there(pid, uid, options.timeout + options.seconds, "trace_stop")
    if "error" in found:
        raise CannotLook(f"process {pid}: {found['error']}{_children(pid)}")
    if "texts" not in found:
        raise CannotLook(f"process {pid} has a gevlite without traces")
    timeline = Timeline(found)
    if options.html or output.endswith((".html", ".htm")):
        write_file(output, page_of(timeline))
    else:
        write_file(output, timeline.chunks())
    about = timeline.about()
    dropped = f", the first {timeline.dropped} dropped (--events)" if timeline.dropped else ""
    print(f"{output}: {about['seconds']:.1f} s, {about['events']} events{dropped}")
    return 0


def _sleep(seconds):
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        pass  # keep what has been recorded so far


def _children(pid):
    children = children_of(pid)
    return f"; its children: {', '.join(map(str, children))}" if children else ""
