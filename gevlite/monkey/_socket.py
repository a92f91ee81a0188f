"""`socket`: sockets and the look-up of names."""

from gevlite.monkey._engine import adopt_class, get_original, on_unpatch, patch_twin, remove_item
from gevlite.monkey._multiprocessing import pass_on_sockets
from gevlite.monkey._patching import patcher

__all__ = ["DNS_ITEMS", "patch_dns", "patch_socket"]

DNS_ITEMS = ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")

# The original functions look up `socket` and the names above in their module at each call, and so become cooperative
# with them. Because they are not replaced, they also work in modules that imported them before, and if other code
# replaces `socket` in the module, as test suites do. SocketType is the C class that both the old and the new sockets
# are derived from.
_FOLLOW = ("SocketType", "create_connection", "create_server", "fromfd", "getfqdn", "socketpair")

# Functions that make sockets in C without the patched class; they exist only on some platforms.
_WITHOUT_TWIN = ("fromshare",)


@patcher
def patch_socket(dns=True, aggressive=True):
    """Make `socket` cooperative. dns: name look-ups too. aggressive: remove functions that would block and lack a
    twin."""
    from gevlite import socket as source

    target = patch_twin("socket", [name for name in source.__implements__ if name not in DNS_ITEMS + _FOLLOW])
    if dns:
        patch_dns()
    adopt_class(get_original("socket", "socket"), source.ADOPTED)
    on_unpatch(source._endpoints.give_back)
    if aggressive:
        for name in _WITHOUT_TWIN:
            remove_item(target, name)
    pass_on_sockets(target.socket)


@patcher
def patch_dns():
    """Make the hub's resolver look up names, which blocks no other greenlet."""
    patch_twin("socket", DNS_ITEMS)
