"""The system's resolver, called in worker threads."""

import _socket

from gevlite._config import config
from gevlite._core import HubDestroyed, get_hub
from gevlite.threadpool import ThreadPool

__all__ = ["Resolver"]

# Threads of its own, not those of `hub.threadpool`: if a name server does not answer, each look-up takes many seconds,
# and other calls that a program makes in threads must not wait for that.
THREADS = 10


class Resolver:
    """Blocks only the calling greenlet. Arguments, results and errors are those of the socket module.

    A numeric address needs no look-up and is answered without a thread. A look-up that is killed continues in its
    thread.
    """

    def __init__(self, hub=None):
        self.hub = hub if hub is not None else get_hub()
        self.pool = ThreadPool(THREADS, self.hub, config.threadpool_idle_task_timeout)

    def close(self):
        """End the threads, each after its current look-up."""
        self.pool.kill()

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        """As `socket.getaddrinfo`, with plain numbers in the result."""
        if host is None or isinstance(host, (str, bytes)) and (port is None or isinstance(port, int)):
            try:
                return _socket.getaddrinfo(host, port, family, type, proto, flags | _socket.AI_NUMERICHOST)
            except _socket.gaierror as exc:
                if exc.errno != _socket.EAI_NONAME or flags & _socket.AI_NUMERICHOST or host is None:
                    raise
        return self._in_thread(_socket.getaddrinfo, host, port, family, type, proto, flags)

    def gethostbyname(self, hostname):
        """As `socket.gethostbyname`."""
        return self._in_thread(_socket.gethostbyname, hostname)

    def gethostbyname_ex(self, hostname):
        """As `socket.gethostbyname_ex`."""
        return self._in_thread(_socket.gethostbyname_ex, hostname)

    def gethostbyaddr(self, ip_address):
        """As `socket.gethostbyaddr`."""
        return self._in_thread(_socket.gethostbyaddr, ip_address)

    def getnameinfo(self, sockaddr, flags):
        """As `socket.getnameinfo`."""
        return self._in_thread(_socket.getnameinfo, sockaddr, flags)

    def _in_thread(self, function, *args):
        try:
            return self.pool.apply(function, args)
        except HubDestroyed:
            raise
        except RuntimeError as exc:  # no thread can be started now; perhaps later
            raise _socket.gaierror(_socket.EAI_AGAIN, f"Temporary failure in name resolution ({exc})") from exc

    def __repr__(self):
        return f"<{__name__}.Resolver of {self.hub!r}>"
