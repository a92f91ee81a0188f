from gevlite import _core, backends
from gevlite._core import get_hub, sleep
from gevlite.greenlet import *
from gevlite.timeout import Timeout, with_timeout
from gevlite.event import *
from gevlite.queue import *
from gevlite.lock import *
