"""Cooperative `input`; everything else in `builtins` is unchanged."""

__implements__: list[str]
__imports__: list[str]

def input(prompt: object = "", /) -> str:
    """Like the original: write `prompt`, block until there is a line, and return it. Raises EOFError at the end.

    If a kill or a time-out ends a call, its line goes to the next call. If `readline` has been imported, for editing at
    a terminal, the original is called, which blocks all greenlets; but not if `sys.stdin` is a cooperative stream
    (`patch_sys`), which has no editing.
    """

# Last, because type checkers keep the first of two definitions.
from builtins import *  # noqa: E402, F403, UP029
