"""DNS with c-ares (https://c-ares.org) through pycares: no threads; the hub watches c-ares's sockets.

c-ares says which descriptors it waits for and for how long, and is called when one is ready or the time is over. All of
this happens in the hub's thread: the event thread that c-ares offers would cost a switch between threads for each
answer.

c-ares cannot cancel a single look-up. When the last waiter is gone, all look-ups that are still running are cancelled.
"""

from typing import Any, Final

from gevlite._core import Hub
from gevlite.resolver._abstract import AbstractResolver

__all__ = ["Resolver"]

ENV_PREFIX: Final[str]

class Resolver(AbstractResolver):
    # options: those of pycares.Channel.
    """Asks the name servers of /etc/resolv.conf, or those given as an option.

    options: those of `pycares.Channel`: servers, timeout (seconds), tries, ndots, domains, ... With `use_environ`,
    options that are not given are taken from GEVLITE_ARES_SERVERS and the like.
    """
    def __init__(self, hub: Hub | None = None, use_environ: bool = True, **options: Any) -> None: ...
    def ask(self, name: str, family: int) -> tuple[str, list[str], list[str]]: ...
    def reverse(self, address: str) -> tuple[str, list[str]]: ...
