"""select (every POSIX system).

The traps of the interface, and how the promise of `Backend` is kept:

* It is level-triggered: what is ready stays ready. So a descriptor is watched only while something waits for it,
  and for one report at a time (`adopt` returns False, and the hub arms each wait).
* An `fd_set` has room for FD_SETSIZE (mostly 1024) descriptors. A higher *number* would write outside of it, so `arm`
  refuses it and names the backends that can watch it.
* One closed descriptor makes the whole call fail with EBADF, and the call does not say which. `poll` then finds it,
  forgets it, and reports it as ready: the waiter tries the operation and gets the error.
* select() takes microseconds: time-outs are rounded up.
* It changes its sets: they are copied for each call.
"""

from typing_extensions import disjoint_base

from gevlite._core import Backend

@disjoint_base
class SelectBackend(Backend):
    """select(): level-triggered, interest armed for one report, descriptors below FD_SETSIZE only."""
