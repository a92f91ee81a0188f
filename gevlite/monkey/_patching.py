"""The context manager around each patch: at its end, remaining originals are repaired, named or refused (`_late`)."""

import contextlib

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
