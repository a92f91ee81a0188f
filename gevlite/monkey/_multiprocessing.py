"""`multiprocessing`, if it was imported before patching, as it always is in the processes that it spawns.

At import it takes two objects from other modules, so replacing the names in those modules is too late.
"""

import sys

from gevlite.monkey._engine import on_unpatch

__all__ = ["pass_on_sockets", "wait_in_connections"]


def pass_on_sockets(socket):
    """Register the class `socket` as one whose objects can be sent to another process."""
    reduction = sys.modules.get("multiprocessing.reduction")
    if reduction is not None and socket not in reduction.ForkingPickler._extra_reducers:
        reduction.register(socket, reduction._reduce_socket)
        on_unpatch(lambda: reduction.ForkingPickler._extra_reducers.pop(socket, None))


def wait_in_connections(originals, module):
    """Connections call the original `os.read` and `os.write`, as defaults of arguments; make them call the new ones.

    originals: `{name: original}`; module: the module with the new ones.
    """
    connection = sys.modules.get("multiprocessing.connection")
    if connection is None:
        return
    for method in (connection.Connection._send, connection.Connection._recv):
        before = method.__defaults__
        method.__defaults__ = tuple(
            next((getattr(module, name) for name, original in originals.items() if value is original), value)
            for value in before or ()
        )
        on_unpatch(lambda method=method, before=before: setattr(method, "__defaults__", before))
