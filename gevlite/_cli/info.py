"""`python -m gevlite info`: what is installed and what was chosen."""

import importlib.metadata
import platform
import re
import sys

import greenlet

import gevlite
from gevlite import _core, _gil, backends
from gevlite._config import as_text
from gevlite._version import __version__


def report():
    """The facts as a list of `(title, lines)`."""
    hub = gevlite.get_hub()
    chosen = hub.backend.name
    cache = _core.stack_cache_stats()
    return [
        ("gevlite", [f"{__version__}, {gevlite.__path__[0]}"]),
        ("Python", [f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"]),
        ("GIL", [_gil.state()]),
        ("greenlet", [greenlet.__version__]),
        ("platform", [platform.platform()]),
        ("backend", [f"{chosen} ({hub.backend_reason})"]),
        ("available", [_backend_line(name, problem) for name, problem in backends.available().items()]),
        ("extras", _extra_lines()),
        ("stack cache", [_cache_line(cache)]),
        ("settings", [_setting_line(setting) for setting in gevlite.config.settings.values()]),
    ]


# Extras that a program can use; the others are for work on gevlite itself.
_EXTRAS = ("ares", "dnspython", "metrics", "websocket", "wsgi")


def _extra_lines():
    """The distributions that each extra needs, with their versions."""
    try:
        required = importlib.metadata.requires("gevlite") or ()
    except importlib.metadata.PackageNotFoundError:
        return ["unknown: gevlite was not installed by pip"]
    needs = {extra: [] for extra in _EXTRAS}
    for requirement in required:
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", requirement)
        name = re.match(r"[\w.-]+", requirement)[0]
        if extra and extra[1] in needs and name != "gevlite":
            needs[extra[1]].append(name)
    return [f"{extra:<10} {', '.join(map(_distribution, names))}" for extra, names in needs.items()]


def _distribution(name):
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is not installed"


def _backend_line(name, problem):
    return f"{name:<8} {'yes' if problem is None else 'no: ' + problem}"


def _setting_line(setting):
    try:
        value = getattr(gevlite.config, setting.name)
    except ValueError as exc:
        return f"{setting.name}: {exc}"
    source = setting.source(gevlite.config)
    return f"{setting.name} = {as_text(value)}" + ("" if source == "default" else f" ({source})")


def _cache_line(cache):
    if not cache["installed"]:
        return "off"
    return (
        f"holds {cache['cached']} of at most {cache['limit']} chunks of 16 KiB; "
        f"{cache['hits']} hits, {cache['misses']} misses"
    )


def print_report(stream):
    for title, lines in report():
        for i, line in enumerate(lines):
            print(f"{title if i == 0 else '':<12} {line}", file=stream)
