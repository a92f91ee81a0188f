"""poll (every POSIX system).

The traps of the interface, and how the promise of `Backend` is kept:

* It is level-triggered: what is ready stays ready. So a descriptor is watched only while something waits for it,
  and for one report at a time (`adopt` returns False, and the hub arms each wait).
* The kernel walks the whole array at each call. So it is kept compact: a descriptor's number leads to its place, and the
  last one moves into the place that another leaves. Both are O(1), and only what a greenlet waits for costs anything.
* POLLERR, POLLHUP and POLLNVAL come whether or not they were asked for. Each is reported as ready in both directions: the
  waiter tries the operation and gets the end of file or the error. POLLNVAL, for a descriptor that was closed without
  our knowledge, comes for that descriptor alone; macOS also reports it for some devices (poll(2), BUGS), where kqueue
  and select do better.
* Only the next call of poll(2) reports that a number is closed: so `arm` checks with fcntl(2) first.
* The time-out counts in milliseconds and is rounded up, so that a timer never fires early. Where there is ppoll(2), or
  pollts(2) as NetBSD calls it, it takes nanoseconds.
* More descriptors than RLIMIT_NOFILE are EINVAL. Each has a number below that limit, so this takes a limit that was lowered
  while more than so many were open.
"""

from typing_extensions import disjoint_base

from gevlite._core import Backend

@disjoint_base
class PollBackend(Backend):
    """poll(): level-triggered, interest armed for one report, descriptors of any number."""
