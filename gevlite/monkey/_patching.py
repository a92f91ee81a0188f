"""The context manager around each patch: at its end, remaining originals are repaired, named or refused (`_late`)."""

import contextlib
import functools

from gevlite.monkey import _engine, _late
from gevlite.monkey._engine import Mark, MonkeyPatchError, changes, load_twins

_depth = 0


@contextlib.contextmanager
def patching(fix=False, strict=False):
    """A context manager, or decorator, for code that patches: the outermost one handles remaining originals at its end.

    fix: repair those that can be repaired. strict: if any are left, undo the patch and raise MonkeyPatchError.
    """
    global _depth
    if not _depth:
        load_twins()
        changes.clear()
        mark = Mark() if strict else None
    _depth += 1
    try:
        yield
    except BaseException:
        _depth -= 1
        raise
    _depth -= 1
    if not _depth:
        if strict:
            problems = _late.left(fix)
            if problems:
                mark.go_back()
                raise MonkeyPatchError(_late.refusal(problems))
        for change in changes:
            change()
        _late.settle(fix)


_engine.around_import = patching


def check_names(function):
    """A decorator: a keyword argument that the function does not have is a TypeError that names the one meant."""
    code = getattr(function, "__wrapped__", function).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(function)
    def checked(*args, **kwargs):
        for name in kwargs:
            if name not in names:
                raise TypeError(_unknown(function.__name__, name, names))
        return function(*args, **kwargs)

    return checked


def _unknown(function, name, names):
    from difflib import get_close_matches

    meant = get_close_matches(name, names, 1, 0.5)
    known = f"it has {', '.join(names)}" if names else "it has none"
    hint = f"did you mean `{meant[0]}`?" if meant else known
    return f"{function}() has no argument {name!r}: {hint}"


def patcher(function):
    """A decorator for the function that patches an area."""
    return check_names(patching()(function))
