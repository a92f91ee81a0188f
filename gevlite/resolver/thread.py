"""The system's resolver, asked in the hub's worker threads."""

import _socket

from gevlite._core import get_hub

__all__ = ["Resolver"]


class Resolver:
    """Blocks the greenlet that asks and nobody else. Arguments, results and errors are those of the socket module.

    What needs no look-up, an address written in digits, is answered without a thread.
    """

    def __init__(self, hub=None):
        self.hub = hub if hub is not None else get_hub()

    def close(self):
        """Nothing to give back: the threads belong to the hub."""

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        """As `socket.getaddrinfo`, with plain numbers in the result."""
        if host is None or isinstance(host, (str, bytes)) and (port is None or isinstance(port, int)):
            try:
                return _socket.getaddrinfo(host, port, family, type, proto, flags | _socket.AI_NUMERICHOST)
            except _socket.gaierror as exc:
                if exc.errno != _socket.EAI_NONAME:
                    raise
                if flags & _socket.AI_NUMERICHOST:
                    raise
        return self.hub.threadpool.apply(_socket.getaddrinfo, (host, port, family, type, proto, flags))

    def gethostbyname(self, hostname):
        """As `socket.gethostbyname`."""
        return self.hub.threadpool.apply(_socket.gethostbyname, (hostname,))

    def gethostbyname_ex(self, hostname):
        """As `socket.gethostbyname_ex`."""
        return self.hub.threadpool.apply(_socket.gethostbyname_ex, (hostname,))

    def gethostbyaddr(self, ip_address):
        """As `socket.gethostbyaddr`."""
        return self.hub.threadpool.apply(_socket.gethostbyaddr, (ip_address,))

    def getnameinfo(self, sockaddr, flags):
        """As `socket.getnameinfo`."""
        return self.hub.threadpool.apply(_socket.getnameinfo, (sockaddr, flags))

    def __repr__(self):
        return f"<{__name__}.Resolver of {self.hub!r}>"
