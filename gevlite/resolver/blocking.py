"""The system's resolver, called directly. It blocks the hub: for programs that have nothing else to do meanwhile."""

import _socket

__all__ = ["Resolver"]


class Resolver:
    """The functions of the original socket module, unchanged."""

    def __init__(self, hub=None):
        self.hub = hub

    def close(self):
        """Does nothing: there is nothing to release."""

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        """As `socket.getaddrinfo`, with plain numbers in the result."""
        return _socket.getaddrinfo(host, port, family, type, proto, flags)

    def gethostbyname(self, hostname):
        """As `socket.gethostbyname`."""
        return _socket.gethostbyname(hostname)

    def gethostbyname_ex(self, hostname):
        """As `socket.gethostbyname_ex`."""
        return _socket.gethostbyname_ex(hostname)

    def gethostbyaddr(self, ip_address):
        """As `socket.gethostbyaddr`."""
        return _socket.gethostbyaddr(ip_address)

    def getnameinfo(self, sockaddr, flags):
        """As `socket.getnameinfo`."""
        return _socket.getnameinfo(sockaddr, flags)
