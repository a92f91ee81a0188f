"""`python -m gevlite info`: what is installed and what was chosen."""

import platform
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
        ("gevlite", [__version__]),
        ("Python", [f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"]),
        ("GIL", [_gil.state()]),
        ("greenlet", [greenlet.__version__]),
        ("platform", [platform.platform()]),
        ("backend", [f"{chosen} ({hub.backend_reason})"]),
        ("available", [_backend_line(name, problem) for name, problem in backends.available().items()]),
        ("stack cache", [_cache_line(cache)]),
        ("settings", [_setting_line(setting) for setting in gevlite.config.settings.values()]),
    ]


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
