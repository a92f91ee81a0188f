from gevlite import _core, backends
from gevlite._core import get_hub, sleep
from gevlite.greenlet import *
from gevlite.timeout import Timeout, with_timeout
