"""`multiprocessing`, if it was imported before patching, as it always is in the processes that it spawns.

At import it registers the class of sockets, so replacing its name is too late. For what it keeps as defaults of
arguments, see `_late`.
"""

import sys

from gevlite.monkey._engine import on_unpatch

__all__ = ["pass_on_sockets"]


def pass_on_sockets(socket):
    """Register the class `socket` as one whose objects can be sent to another process."""
    reduction = sys.modules.get("multiprocessing.reduction")
    if reduction is not None and socket not in reduction.ForkingPickler._extra_reducers:
        reduction.register(socket, reduction._reduce_socket)
        on_unpatch(lambda: reduction.ForkingPickler._extra_reducers.pop(socket, None))
