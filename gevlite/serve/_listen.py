"""The sockets that the workers share: the supervisor binds them before the first worker, and closes them at the end."""

import os
import socket
import stat

from gevlite.baseserver import name_of, parse_address

__all__ = ["Listeners"]


class Listeners:
    """The listening sockets. `of(slot)` are those of one worker; `names` lists their addresses.

    With `reuse_port`, each worker has its own socket for each address, and the kernel distributes connections. The
    sockets stay open here when a worker ends: its successor accepts the waiting connections.

    Raises OSError that names the address, ValueError for an invalid address.
    """

    def __init__(self, settings, passed):
        self.names = []
        self._shared = []  # one list for each address: a socket, or one for each worker
        self._files = []
        copies = settings.workers if settings.reuse_port else 1
        try:
            for address in settings.bind or [f"fd://{fd}" for fd in passed] or ["127.0.0.1:8000"]:
                self._open(address, settings, copies)
        except BaseException:
            self.close()
            raise

    def of(self, slot):
        return [sockets[slot % len(sockets)] for sockets in self._shared]

    def close(self):
        """Also removes the files of UNIX sockets that were made here."""
        for sockets in self._shared:
            for sock in sockets:
                sock.close()
        for path, inode in self._files:
            try:
                if os.stat(path).st_ino == inode:  # otherwise another server has taken its place
                    os.unlink(path)
            except OSError:
                pass
        self._shared, self._files = [], []

    def _open(self, address, settings, copies):
        family, where = parse_address(address)
        sockets = []
        self._shared.append(sockets)
        try:
            if family is None:
                sockets.append(_inherited(where))
            elif family == socket.AF_UNIX:
                sockets.append(self._unix(where, settings))
            else:
                sockets.append(_bound(family, where, settings))
                for _ in range(copies - 1):
                    # The first one's address: with port 0, they must share the port that it got.
                    sockets.append(_bound(family, sockets[0].getsockname(), settings))
        except OSError as exc:
            raise OSError(exc.errno, f"cannot listen on {address}: {exc.strerror or exc}") from None
        except OverflowError as exc:
            raise ValueError(f"cannot listen on {address}: {exc}") from None
        # A UNIX socket was bound to another path.
        address = where if family == socket.AF_UNIX else sockets[0].getsockname()
        self.names.append(name_of(address, "https://" if settings.certfile is not None else "http://"))

    def _unix(self, path, settings):
        """A UNIX socket. No client can connect before its mode and owner are set. While a new server replaces the file
        that an old one has left, there is always a file at `path` to connect to."""
        if not path:
            raise OSError(None, "unix: needs a path")
        if path.startswith(("\0", "@")):
            raise OSError(None, "addresses without a file are not supported")
        _refuse_if_taken(path)
        sock = socket.socket(socket.AF_UNIX)
        made = f"{path}.{os.getpid()}"
        try:
            mask = os.umask(0o777)
            try:
                sock.bind(made)
            finally:
                os.umask(mask)
            try:
                uid, gid = settings.owner_ids()
                if (uid, gid) != (-1, -1):
                    os.chown(made, uid, gid)
                os.chmod(made, 0o666 & ~mask if settings.socket_mode is None else settings.socket_mode)
                sock.listen(settings.backlog)
                self._files.append((path, os.stat(made).st_ino))
                os.rename(made, path)
            except BaseException:
                os.unlink(made)
                raise
        except BaseException:
            sock.close()
            raise
        return sock


def _refuse_if_taken(path):
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(None, "there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # a dead process left it
        raise OSError(None, "Address already in use")


def _inherited(fd):
    try:
        sock = socket.socket(fileno=fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as exc:
        raise OSError(exc.errno, f"descriptor {fd} is not a socket: {exc.strerror}") from None
    if not listens or sock.type != socket.SOCK_STREAM:
        raise OSError(None, f"descriptor {fd} is not a listening stream socket")
    os.set_inheritable(fd, False)
    return sock


def _bound(family, address, settings):
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(settings.backlog)
    except socket.gaierror as exc:
        sock.close()
        raise OSError(exc.errno, exc.strerror) from None
    except BaseException:
        sock.close()
        raise
    return sock
