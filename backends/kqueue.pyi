"""kqueue (macOS, FreeBSD, OpenBSD, NetBSD, DragonFly).

The traps of the interface, and how the promise of `Backend` is kept:

* A registration belongs to the descriptor's *number*, one for each direction (EVFILT_READ, EVFILT_WRITE). Closing the
  number removes both silently, also when a duplicate keeps the file open. So `arm` never trusts its own memory of
  what is registered.
* EV_ADD of a registration that exists changes neither EV_CLEAR nor EV_ONESHOT: a registration that was made for one
  report would be gone after it, whatever the second EV_ADD said. So both directions are deleted first, in the same
  call; if there was nothing to delete (ENOENT), that is no error.
* EV_ADD looks at the state: what is ready at that moment is reported by the next poll, also with EV_CLEAR, which reports
  each change once. So nothing that came before is lost.
* One kevent() makes several changes. EV_RECEIPT has it answer each with an event of its own, in their order, EV_ERROR with
  the errno or 0 in `data`; and it then returns no other event, which would be lost here.
* EVFILT_READ on a regular file means "not at its end" (kqueue(2)), and a file that is at its end would never be
  reported. Files and directories are always ready here: `arm` remembers them for the next poll, which then does not block.
* Files that some systems cannot watch, /dev/null for one, are refused with an errno of their choice (EINVAL on macOS);
  a pipe whose reader has gone gives EPIPE when EVFILT_WRITE is added. Neither would ever block: they are always ready,
  too.
* If both directions are armed, the report of one leaves the other armed. It may be reported when nothing waits for it
  any more, or is deleted by the next `arm`.
* A read stops at urgent data, no change need come for the data behind it, and EVFILT_READ does not tell urgent data
  (EV_OOBAND of macOS's header is no longer set by its kernel, FreeBSD has nothing). So each report says URGENT, that is, a
  short read proves nothing: readers try until the socket would block.
* A kqueue is not inherited by fork: in the child its number is free, and soon that of another file. So the child must make its
  own, and must not close the parent's.
* EVFILT_USER wakes without a write and a read. The pipe is watched too: signals write to it, and it wakes where
  EVFILT_USER is missing (older OpenBSD and NetBSD).
"""

from typing_extensions import disjoint_base

from gevlite._core import Backend

@disjoint_base
class KqueueBackend(Backend):
    """kqueue of macOS and the BSDs: edge-triggered for gevlite sockets, one-shot for everything else."""
    def fileno(self) -> int:
        """The kqueue's descriptor."""
