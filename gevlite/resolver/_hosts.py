"""/etc/hosts (hosts(5)), for resolvers that do not ask the system."""

import os
from _socket import AF_INET, AF_INET6
from collections.abc import Collection
from io import open as _open  # a finalizer at the end of the interpreter cannot use the built-in one

PATH = "/etc/hosts"


class Hosts:
    """The contents of a hosts file. It is read again when it has changed."""

    def __init__(self, path: str = PATH) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._lines: list[tuple[str, list[str]]] = []  # of (address, [name, alias, ...])

    def by_name(self, name: str, families: Collection[int]) -> tuple[str, list[str], list[str]] | None:
        """`(canonical name, aliases, addresses)` from all lines with this name and such an address, or None."""
        name = name.rstrip(".").lower()
        lines = [
            (address, names)
            for address, names in self._current()
            if (AF_INET6 if ":" in address else AF_INET) in families and name in map(str.lower, names)
        ]
        if not lines:
            return None
        known = list(dict.fromkeys(known for _, names in lines for known in names))
        return known[0], known[1:], list(dict.fromkeys(address for address, _ in lines))

    def by_address(self, address: str) -> tuple[str, list[str]] | None:
        """`(canonical name, aliases)` from the first line with this address, or None."""
        return next(((names[0], names[1:]) for known, names in self._current() if known == address), None)

    def _current(self) -> list[tuple[str, list[str]]]:
        try:
            status = os.stat(self.path)
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                with _open(self.path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: UP020
                    self._lines = [line for line in map(_parsed, file) if line is not None]
                self._seen = seen
        except OSError:
            self._seen, self._lines = None, []  # a system without one
        return self._lines


def _parsed(line: str) -> tuple[str, list[str]] | None:
    words = line.partition("#")[0].split()
    return (words[0].lower(), words[1:]) if len(words) > 1 else None
