"""Cooperative `time.sleep`; everything else in `time` is unchanged."""

import time as _std

from gevlite._core import sleep

__target__ = "time"
__implements__ = ["sleep"]
__imports__ = [name for name in dir(_std) if not name.startswith("_") and name not in __implements__]
globals().update({name: getattr(_std, name) for name in __imports__})
__all__ = __implements__ + __imports__
