"""Make `import gevent` import gevlite, so that software written for gevent runs unmodified and without gevent.

::

    python -m gevlite.as_gevent -m gunicorn -k gevent app:application

or, at the very start of a program::

    from gevlite import as_gevent
    as_gevent.install()

A finder at the head of `sys.meta_path` handles `gevent` and everything below it. A submodule, such as `gevent.pool`,
*is* the module `gevlite.pool` under a second name, so classes from one name compare equal to those from the other. Only
`gevent` itself is a module of its own, because its `__version__` must be one that other software knows: the version of
gevent whose public names gevlite has.

`install(children=True)` also covers children that start a new Python. It sets two environment variables for them,
PYTHONPATH and GEVLITE_AS_GEVENT, see `_startup/sitecustomize.py`. No file is added to the Python installation, and a
child that does not get the variables is not affected.

A missing name raises an AttributeError or ImportError that names it and says where to report it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["API_VERSION", "install"]

API_VERSION: Final = "26.9.0"
"""The gevent whose public modules and names gevlite has."""
MODULES: Final[frozenset[str]]
USAGE: Final[str]
VARIABLE: Final = "GEVLITE_AS_GEVENT"

class VersionInfo(NamedTuple):
    """`gevent.version_info`, as `sys.version_info`."""

    major: int
    """Alias for field number 0"""
    minor: int
    """Alias for field number 1"""
    micro: int
    """Alias for field number 2"""
    releaselevel: str
    """Alias for field number 3"""
    serial: int
    """Alias for field number 4"""

def install(children: bool | None = None) -> None:
    """Make `import gevent` give gevlite from now on, even if gevent is installed. Calling it again is harmless.

    children: True also covers every Python started from now on: by subprocess, by multiprocessing with "spawn" and
    "forkserver", by os.exec. It works through the environment, so not for a child that gets another environment or runs
    with `-I`, `-E` or `-S`. False undoes that. None leaves it as it is, so that a child passes it on to its children.

    Raises RuntimeError if gevent itself was imported before: two hubs in one thread would wait for each other.
    """

def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns an exit code, unless the program raises SystemExit."""
