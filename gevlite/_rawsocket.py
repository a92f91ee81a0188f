"""The socket for applications that speak with a client by themselves: `environ["gunicorn.socket"]`."""

__all__ = ["RawSocket"]


class RawSocket:
    """A proxy for a connection's socket. It notifies the handler when it is used.

    This shows that an application takes the connection over: the application itself says so only at its end, if ever.
    """

    __slots__ = ("__weakref__", "_handler", "_sock")

    def __init__(self, sock, handler):
        self._sock = sock
        self._handler = handler

    @property
    def __class__(self):
        return type(self._sock)  # for isinstance()

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def __repr__(self):
        return repr(self._sock)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._sock.close()


def _told(name, speaks):
    def method(self, *args, **kwargs):
        self._handler._socket_is_used(speaks)
        return getattr(self._sock, name)(*args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"RawSocket.{name}"
    return method


for _name in ("fileno", "read", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"):
    setattr(RawSocket, _name, _told(_name, speaks=False))
for _name in ("detach", "dup", "makefile", "send", "sendall", "sendfile", "sendmsg", "sendto", "unwrap", "write"):
    setattr(RawSocket, _name, _told(_name, speaks=True))
