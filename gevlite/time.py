"""Cooperative `time.sleep`; everything else in `time` is unchanged."""

import time as _std

from gevlite import _twin
from gevlite._core import sleep

__target__ = "time"
__implements__ = ["sleep"]
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside(__implements__, _std))
__all__ = __implements__ + __imports__
