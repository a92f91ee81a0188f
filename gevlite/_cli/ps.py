"""`python -m gevlite ps`, `tree`, `dump` and `stats`: ask a running process what its greenlets do, and show it."""

import json
import os
import shutil
import socket
import sys

from gevlite import _door
from gevlite._cli.reach import CannotLook, children_of, look, look_by_socket, output_lost
from gevlite._report import Report, fit
from gevlite._version import __version__


def main(options):
    """Run `ps`, `tree`, `dump` or `stats`; returns the exit code."""
    try:
        if options.pid is None:
            text = _list(options)
        else:
            text = _show(options, _reports(options.pid, options.timeout))
    except CannotLook as exc:
        print(f"gevlite: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    try:
        print(text, end="", flush=True)
    except OSError as exc:
        return output_lost(exc)
    return 0


def _show(options, reports):
    """The text for these processes."""
    if options.json:
        found = [report.as_json() for report in reports]
        return json.dumps(found[0] if len(found) == 1 else found, indent=2) + "\n"
    width = _width(options.width)
    return "\n".join(fit(getattr(report, options.screen)(), width) for report in reports)


def _width(wanted):
    if wanted:
        return wanted
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _reports(pid, timeout):
    """The report of the process; if it has no hub, also those of its children."""
    problem = report = None
    try:
        report = _report(pid, timeout)
        if report.hubs:
            return [report]
    except CannotLook as exc:
        problem = exc
    children = []
    for child in children_of(pid):
        try:
            children.append(_report(child, timeout))
        except CannotLook:
            pass
    children = [child for child in children if child.hubs]
    if children:
        print(f"gevlite: process {pid} has no hub; these are its children", file=sys.stderr)
        return children
    if report is None:
        raise problem
    return [report]


def _report(pid, timeout):
    report = report_of(look(pid, timeout))
    _add_connects(report)
    return report


def report_of(raw):
    """Raises CannotLook if another version of gevlite has made it."""
    try:
        return Report(raw)
    except (KeyError, TypeError, ValueError):
        has = f"process {raw.get('pid')} has gevlite {raw.get('gevlite')}"
        raise CannotLook(f"{has}, and this is {__version__}: both have to be the same") from None


# ---------------------------------------------------------------- from /proc


def _add_connects(report):
    """Only the kernel knows the peer of a socket, as long as the connection lasts."""
    for one in report.greenlets:
        if one.waits_for == "connect" and one.fd >= 0:
            address = _connects_to(report.pid, one.fd)
            if address:
                one.waits_for = f"connect to {address}"


def _connects_to(pid, fd):
    try:
        inode = os.readlink(f"/proc/{pid}/fd/{fd}").removeprefix("socket:[").removesuffix("]")
        for name, family, size in (("tcp", socket.AF_INET, 8), ("tcp6", socket.AF_INET6, 32)):
            with open(f"/proc/{pid}/net/{name}") as file:
                for line in file:
                    fields = line.split()
                    if len(fields) > 9 and fields[9] == inode:
                        host, port = fields[2].split(":")
                        words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, size, 8)]
                        text = socket.inet_ntop(family, b"".join(words))
                        return f"[{text}]:{int(port, 16)}" if family == socket.AF_INET6 else f"{text}:{int(port, 16)}"
    except (OSError, ValueError):
        pass
    return None


# ---------------------------------------------------------------- without the number of a process


def _list(options):
    """The text about all processes of this user that have a socket."""
    uid = os.geteuid()
    found = []
    for folder in _door.folders(uid):
        if _door.is_private(folder, uid):
            for name in sorted(os.listdir(folder)):
                pid = name.removesuffix(".sock")
                if pid.isdigit() and name != pid:
                    try:
                        raw = look_by_socket(int(pid), uid, options.timeout)
                        if raw is not None and "error" not in raw:
                            found.append(report_of(raw))
                    except CannotLook:
                        continue
    if options.json:
        return json.dumps([report.as_json() for report in found], indent=2) + "\n"
    if not found:
        return "No process of this user has been started with GEVLITE_INSPECT=1. Give the number of a process.\n"
    lines = [(0, f"{report.pid}: {' '.join(report.program)}, {len(report.greenlets)} greenlets") for report in found]
    return fit(lines, _width(options.width))
