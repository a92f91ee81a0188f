"""The socket object and the functions of the module, beside the original."""

import errno
import os
import socket as std_socket

import pytest
from both_ends import LOCALHOST, refused, tcp_pair, udp, unix_pair

from gevlite import socket

# ---------------------------------------------------------------- the object

def test_it_is_a_standard_socket():
    with socket.socket() as sock:
        assert isinstance(sock, std_socket.socket)
        assert socket.SocketType is socket.socket
        assert (sock.family, sock.type, sock.proto) == (std_socket.AF_INET, std_socket.SOCK_STREAM, 0)
        assert isinstance(sock.family, std_socket.AddressFamily)
        assert "fd=" in repr(sock)
        with pytest.raises(AttributeError):
            sock.no_such_attribute = 1


def test_everything_of_the_original_is_there():
    missing = [name for name in dir(std_socket) if not name.startswith("__") and not hasattr(socket, name)]
    assert set(missing) <= {"os", "sys"}
    assert set(std_socket.__all__) <= set(socket.__all__)


def test_context_manager_closes(sockets):
    with sockets.socket() as sock:
        assert sock.fileno() >= 0
    assert sock.fileno() == -1
    sock.close()
    for call in (lambda: sock.recv(1), lambda: sock.send(b"x"), lambda: sock.accept(), sock.getsockname):
        with refused(errno.EBADF):
            call()


def test_close_is_seen_by_the_other_side(lib, ends):
    a, b = ends
    reader = lib.spawn(b.recv, 1)
    a.close()
    assert reader.get() == b""


def test_dup(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    a.settimeout(9)
    twin = opened.enter_context(a.dup())
    assert type(twin) is type(a)
    assert twin.fileno() != a.fileno()
    assert twin.gettimeout() == 9.0
    assert not twin.get_inheritable()
    a.close()
    twin.sendall(b"still there")
    assert b.recv(100) == b"still there"


def test_detach(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    fd = a.detach()
    assert a.fileno() == -1
    with refused(errno.EBADF):
        a.send(b"x")
    assert a.detach() == -1
    again = opened.enter_context(sockets.socket(fileno=fd))
    assert (again.family, again.type) == (std_socket.AF_INET, std_socket.SOCK_STREAM)
    again.sendall(b"again")
    assert b.recv(10) == b"again"


@pytest.mark.parametrize(("timeout", "blocking"), [(None, True), (5, False), (0, False)])
def test_a_detached_descriptor_is_in_the_mode_that_the_socket_had(sockets, opened, timeout, blocking):
    """Whoever gets it, multiprocessing for instance, reads it by os.read."""
    a, _b = tcp_pair(sockets, opened)
    a.settimeout(timeout)
    fd = a.detach()
    try:
        assert os.get_blocking(fd) == blocking
    finally:
        os.close(fd)


def test_fromfd(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    twin = opened.enter_context(sockets.fromfd(a.fileno(), std_socket.AF_INET, std_socket.SOCK_STREAM))
    assert twin.fileno() != a.fileno()
    a.close()
    twin.sendall(b"x")
    assert b.recv(1) == b"x"


@pytest.mark.parametrize("bad", [-1, 10_000_000])
def test_a_bad_fileno(sockets, bad):
    with pytest.raises((OSError, ValueError)):
        sockets.socket(fileno=bad)


def test_socketpair_kinds(sockets, opened):
    a, _b = unix_pair(sockets, opened)
    assert (a.family, a.type) == (std_socket.AF_UNIX, std_socket.SOCK_STREAM)
    c, d = (opened.enter_context(end) for end in sockets.socketpair(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    c.send(b"x")
    assert d.recv(10) == b"x"


def test_makefile(lib, ends):
    """Reading lines and writing through buffered files; the socket lives until the last file is closed."""
    a, b = ends

    def upper():
        with b.makefile("rb") as lines, b.makefile("wb") as out:
            b.close()
            for line in lines:
                out.write(line.upper())
                out.flush()

    server = lib.spawn(upper)
    with a.makefile("rw", encoding="utf-8", newline="\n") as file:
        for line in ("eins\n", "zwei\n", "drei\n"):
            file.write(line)
            file.flush()
            assert file.readline() == line.upper()
        a.shutdown(std_socket.SHUT_WR)
        assert file.read() == ""
    server.get()


def test_makefile_times_out(ends):
    _a, b = ends
    b.settimeout(0.05)
    with b.makefile("rb") as file:
        with pytest.raises(TimeoutError):
            file.readline()
        with pytest.raises(OSError, match="cannot read from timed out object"):
            file.readline()


def test_makefile_of_a_nonblocking_socket(ends):
    _a, b = ends
    b.setblocking(False)
    with b.makefile("rb", 0) as file:
        assert file.read(1) is None


# ---------------------------------------------------------------- names

@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("getaddrinfo", ("localhost", 80)),
        ("getaddrinfo", ("localhost", 80, std_socket.AF_INET, std_socket.SOCK_STREAM)),
        ("getaddrinfo", ("localhost", "http")),
        ("getaddrinfo", (LOCALHOST, 80)),
        ("getaddrinfo", (LOCALHOST, "80")),
        ("getaddrinfo", (b"127.0.0.1", b"80")),
        ("getaddrinfo", ("::1", 80)),
        ("getaddrinfo", (None, 80)),
        ("getaddrinfo", (None, 80, 0, std_socket.SOCK_STREAM, 0, std_socket.AI_PASSIVE)),
        ("getaddrinfo", ("", 80)),
        ("getaddrinfo", (None, None)),
        ("getaddrinfo", ("localhost", "no such service")),
        ("getaddrinfo", (LOCALHOST, 80, 12345)),
        ("getaddrinfo", (LOCALHOST, 80, 0, 0, 0, std_socket.AI_NUMERICHOST)),
        ("getaddrinfo", ("localhost", 80, 0, 0, 0, std_socket.AI_NUMERICHOST)),
        ("getaddrinfo", ("localhost", 1 << 70)),
        ("getaddrinfo", (5, 80)),
        ("getaddrinfo", ("a" * 300, 80)),
        ("getaddrinfo", ("\0", 80)),
        ("getaddrinfo", ("no-such-host.invalid", 80)),
        ("gethostbyname", ("localhost",)),
        ("gethostbyname", (LOCALHOST,)),
        ("gethostbyname", ("",)),
        ("gethostbyname", (5,)),
        ("gethostbyname", ("no-such-host.invalid",)),
        ("gethostbyname_ex", ("localhost",)),
        ("gethostbyname_ex", ("no-such-host.invalid",)),
        ("gethostbyaddr", (LOCALHOST,)),
        ("gethostbyaddr", ("localhost",)),
        ("gethostbyaddr", ("no-such-host.invalid",)),
        ("getnameinfo", ((LOCALHOST, 80), 0)),
        ("getnameinfo", ((LOCALHOST, 80), std_socket.NI_NUMERICHOST | std_socket.NI_NUMERICSERV)),
        ("getnameinfo", (("localhost", 80), 0)),
        ("getnameinfo", (LOCALHOST, 0)),
        ("getnameinfo", ((LOCALHOST,), 0)),
        ("getfqdn", ()),
        ("getfqdn", ("localhost",)),
        ("getfqdn", (LOCALHOST,)),
        ("getfqdn", ("no-such-host.invalid",)),
    ],
)
def test_names_as_the_original(function, args):
    """The same result, or an exception of the same class with the same errno."""

    def outcome(module):
        try:
            return getattr(module, function)(*args)
        except Exception as exc:
            return type(exc), getattr(exc, "errno", None)

    assert outcome(socket) == outcome(std_socket)


def test_getaddrinfo_gives_enums():
    (family, kind, *_rest), *_more = socket.getaddrinfo(LOCALHOST, 80)
    assert isinstance(family, std_socket.AddressFamily)
    assert isinstance(kind, std_socket.SocketKind)


def test_an_unresolvable_name(lib, sockets, opened):
    sock = opened.enter_context(sockets.socket())
    for call in (
        lambda: sockets.getaddrinfo("no-such-host.invalid", 80),
        lambda: sockets.create_connection(("no-such-host.invalid", 80)),
        lambda: sock.connect(("no-such-host.invalid", 80)),
        lambda: sock.connect_ex(("no-such-host.invalid", 80)),
        lambda: udp(sockets, opened).sendto(b"x", ("no-such-host.invalid", 80)),
    ):
        with pytest.raises(std_socket.gaierror):
            call()
