"""The system's resolver, asked directly. It stops the hub: for programs that have nothing else to do meanwhile."""

import _socket

__all__ = ["Resolver"]


class Resolver:
    """The functions of the original socket module, as they are."""

    def __init__(self, hub=None):
        pass

    def close(self):
        """Nothing to give back."""

    getaddrinfo = staticmethod(_socket.getaddrinfo)
    gethostbyaddr = staticmethod(_socket.gethostbyaddr)
    gethostbyname = staticmethod(_socket.gethostbyname)
    gethostbyname_ex = staticmethod(_socket.gethostbyname_ex)
    getnameinfo = staticmethod(_socket.getnameinfo)
