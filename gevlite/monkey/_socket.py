"""`socket`: sockets and the look-up of names."""

from gevlite.monkey._engine import patch_twin, remove_item

__all__ = ["DNS_ITEMS", "patch_dns", "patch_socket"]

DNS_ITEMS = ("getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")

# What makes sockets in C, behind the back of the patched class, and exists only on some platforms.
_WITHOUT_TWIN = ("fromshare",)


def patch_socket(dns=True, aggressive=True):
    """Make `socket` cooperative. dns: the look-up of names too. aggressive: remove what would block and has no twin."""
    from gevlite import socket as source

    target = patch_twin("socket", [name for name in source.__implements__ if name not in DNS_ITEMS])
    if dns:
        patch_dns()
    if aggressive:
        for name in _WITHOUT_TWIN:
            remove_item(target, name)


def patch_dns():
    """Have names looked up by the hub's resolver, which stops nobody else."""
    patch_twin("socket", DNS_ITEMS)
