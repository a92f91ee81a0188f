__implements__: list[str]
__imports__: list[str]

def input(prompt: object = "", /) -> str: ...

# Last, because type checkers keep the first of two definitions.
from builtins import *  # noqa: E402, F403, UP029
