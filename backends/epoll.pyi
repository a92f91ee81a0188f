"""epoll (Linux).

The traps of the interface, and how the promise of `Backend` is kept:

* A registration belongs to the *open file description*, not to the number: closing the last descriptor of a file removes it
  silently, and a number reused for another file is unknown to epoll again. So `arm` tries EPOLL_CTL_MOD, falls back to ADD on
  ENOENT and back to MOD on EEXIST, and never trusts its own memory of what is registered.
* If a duplicate keeps the old file open, its registration lives on under the old number and may report events for a
  number that now means something else. Such a report is spurious, which is allowed; EPOLLONESHOT makes it the last one.
* Edge-triggered (EPOLLET) registrations report a change once. EPOLL_CTL_ADD counts as a change: what is ready at that
  moment is reported by the next poll, so nothing that came before is lost.
* Regular files and directories cannot be added (EPERM). They are always ready: `arm` remembers them for the next poll,
  which then does not block.
* epoll_wait counts in milliseconds. `epoll_pwait2` (Linux 5.11) takes nanoseconds; where it is missing the time-out is
  rounded up, so that a timer never fires early.
* The descriptor survives fork and stays connected to the parent's files; a child must make its own.
"""

from typing_extensions import disjoint_base

from gevlite._core import Backend

@disjoint_base
class EpollBackend(Backend):
    """Linux epoll: edge-triggered for gevlite sockets, one-shot for everything else."""
    def fileno(self) -> int:
        """The epoll descriptor."""
