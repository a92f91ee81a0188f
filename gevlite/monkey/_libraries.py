"""Libraries that choose how to wait when they are imported, and would choose a way that blocks all greenlets."""

import os
import sys

from gevlite.monkey._engine import on_unpatch, patch_item

__all__ = ["prefer_python_waits"]


def prefer_python_waits():
    """Make psycopg 3 wait with `selectors`, not in C.

    psycopg documents the environment variable (`psycopg.waiting`); it does no harm in a child process that is not
    patched.
    """
    waiting = sys.modules.get("psycopg.waiting")
    if waiting is not None and waiting.wait is getattr(waiting, "wait_c", None):
        patch_item(waiting, "wait", waiting.wait_selector)
    if "PSYCOPG_WAIT_FUNC" not in os.environ:
        os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"
        on_unpatch(lambda: os.environ.pop("PSYCOPG_WAIT_FUNC", None))
