"""What is around each patch: at its end, what is still as it was is repaired, named or refused (`_late`)."""

import contextlib

from gevlite.monkey import _engine, _late
from gevlite.monkey._engine import Mark, MonkeyPatchError, changes, load_twins

_depth = 0


@contextlib.contextmanager
def patching(fix=False, strict=False):
    """Around whatever patches, or as its decorator: at the end of the outermost, sees to what is still as it was.

    fix: repair what can be. strict: if something is left, put back what was replaced here and raise MonkeyPatchError.
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
