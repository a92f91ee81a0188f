"""DNS with dnspython (https://www.dnspython.org) over gevlite's sockets: no threads, and nothing has to be patched.

dnspython's asynchronous resolver does its I/O through a backend. The coroutines of the backend here never suspend: each
call blocks only its greenlet and then returns. So one step of the coroutine does the whole look-up.
"""

from dns.asyncresolver import Resolver as _AsyncResolver

from gevlite._core import Hub
from gevlite.resolver._abstract import AbstractResolver

__all__ = ["Resolver"]

class Resolver(AbstractResolver):
    """Asks the name servers of /etc/resolv.conf.

    `resolver` is dnspython's, with its settings: nameservers, lifetime (seconds), cache, ...
    """

    resolver: _AsyncResolver
    def __init__(self, hub: Hub | None = None) -> None: ...
    def ask(self, name: str, family: int) -> tuple[str, list[str], list[str]]: ...
    def reverse(self, address: str) -> tuple[str, list[str]]: ...
