"""The socket object and the functions of the module, compared with the original."""

import copy
import errno
import io
import os
import pickle
import socket as std_socket

import pytest
from both_ends import LOCALHOST, let_run, recv_all, recv_exactly, refused, tcp_pair, udp, unix_pair

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
    """Code that gets it, such as multiprocessing, reads it with os.read."""
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


def test_a_shared_listener(run_script):
    """A forked child and its parent accept on one listener: each connection is served once, by either."""
    result = run_script(
        """
        import os
        import gevlite
        from gevlite import socket

        listener = socket.create_server(("127.0.0.1", 0), backlog=200)

        def serve():
            while True:
                connection, _address = listener.accept()
                with connection:
                    connection.sendall(b"%d" % os.getpid())

        servers = [gevlite.spawn(serve)]
        gevlite.sleep(0)                    # the parent's hub knows the listener before the fork
        child = os.fork()
        if not child:
            gevlite.sleep(60)               # the child has that greenlet too
        servers += [gevlite.spawn(serve) for _ in range(3)]

        def ask():
            with socket.create_connection(listener.getsockname(), timeout=10) as sock:
                return sock.recv(100)

        clients = [gevlite.spawn(ask) for _ in range(100)]
        gevlite.joinall(clients)
        gevlite.killall(servers)
        os.kill(child, 9)
        assert os.waitpid(child, 0)[1] == 9
        assert {int(client.value) for client in clients} <= {os.getpid(), child}
        print("served", len(clients))
        """
    )
    assert result.stdout == "served 100\n"


def test_a_connection_is_handed_to_a_child(run_script):
    """Both have the descriptor; the child reads on where the parent stopped."""
    result = run_script(
        """
        import os
        import gevlite
        from gevlite import socket

        a, b = socket.socketpair()
        reader = gevlite.spawn(b.recv, 5)
        gevlite.sleep(0)
        a.send(b"first")
        assert reader.get() == b"first"
        reader = gevlite.spawn(b.recv, 100)
        gevlite.sleep(0)
        child = os.fork()
        if not child:
            a.close()
            assert reader.get() == b"for the child"      # its wait goes on in the child's own hub
            b.sendall(b"thanks")
            os._exit(0)
        reader.kill()
        a.send(b"for the child")
        assert a.recv(100) == b"thanks"
        assert os.waitpid(child, 0)[1] == 0
        a.send(b"for the parent")
        assert b.recv(100) == b"for the parent"
        """
    )
    assert result.stderr == ""


def test_duplicates_wait_by_themselves(lib, sockets, opened):
    """Two descriptors of one connection: readers of both are woken, each byte goes to one."""
    a, b = tcp_pair(sockets, opened)
    twin = opened.enter_context(b.dup())
    third = opened.enter_context(sockets.fromfd(b.fileno(), b.family, b.type))
    readers = [lib.spawn(sock.recv, 1) for sock in (b, twin, third, twin, b, third)]
    let_run(lib)
    for i in range(6):
        a.send(b"%d" % i)
        let_run(lib)
    assert sorted(reader.get() for reader in readers) == [b"%d" % i for i in range(6)]
    b.close()
    reader = lib.spawn(twin.recv, 10)
    let_run(lib)
    a.send(b"still")
    assert reader.get() == b"still"


def test_it_cannot_be_copied(sockets, opened):
    sock = opened.enter_context(sockets.socket())
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copying(sock)


def test_one_that_was_never_opened():
    """Made without __init__, as by a subclass that forgot it: closed, and says so."""
    sock = socket.socket.__new__(socket.socket)
    for call in (lambda: sock.recv(1), lambda: sock.send(b"x"), sock.accept):
        with refused(errno.EBADF):
            call()


def test_a_subclass(opened):
    """With attributes and methods of its own; what it accepts is a plain socket."""

    class Counting(socket.socket):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.sent = 0

        def send(self, data, flags=0):
            n = super().send(data, flags)
            self.sent += n
            return n

    listener = opened.enter_context(Counting())
    listener.bind((LOCALHOST, 0))
    listener.listen()
    client = opened.enter_context(Counting())
    client.connect(listener.getsockname())
    server = opened.enter_context(listener.accept()[0])
    assert client.send(b"12345") == 5
    assert client.sent == 5
    assert server.recv(10) == b"12345"
    twin = opened.enter_context(client.dup())
    assert type(twin) is Counting


MAKEFILE_MODES = [
    ("r", {}, io.TextIOBase),
    ("w", {}, io.TextIOBase),
    ("rw", {"buffering": 1}, io.TextIOBase),
    ("rb", {}, io.BufferedIOBase),
    ("wb", {}, io.BufferedIOBase),
    ("rwb", {}, io.BufferedIOBase),
    ("rb", {"buffering": 7}, io.BufferedIOBase),
    ("rwb", {"buffering": 0}, std_socket.SocketIO),
]


@pytest.mark.parametrize(("mode", "options", "kind"), MAKEFILE_MODES)
def test_makefile_modes(lib, ends, mode, options, kind):
    """What kind of file it is, and that it reads and writes while others run."""
    a, b = ends
    with b.makefile(mode, **options) as file:
        assert isinstance(file, kind)
        assert file.readable() == ("r" in mode)
        assert file.writable() == ("w" in mode)
        assert not file.seekable()
        text = (lambda data: data) if "b" in mode else (lambda data: data.decode())
        if "r" in mode:
            reader = lib.spawn(file.readline)
            let_run(lib)
            a.sendall(b"one\n")
            assert reader.get() == text(b"one\n")
        if "w" in mode:
            file.write(text(b"two\n"))
            file.flush()
            assert recv_exactly(a, 4) == b"two\n"
    assert b.fileno() >= 0


def test_makefile_refuses(ends):
    a, _b = ends
    for mode, options in (("x", {}), ("r+", {}), ("r", {"buffering": 0})):
        with pytest.raises(ValueError):
            a.makefile(mode, **options)


def test_makefile_decodes(ends):
    a, b = ends
    a.sendall("ä\r\nö\n".encode("latin-1"))
    a.close()
    with b.makefile("r", encoding="latin-1", newline=None) as file:
        assert file.read() == "ä\nö\n"


def test_the_connection_ends_with_the_last_file(ends):
    a, b = ends
    files = [b.makefile("rb"), b.makefile("wb")]
    b.close()
    b.close()
    assert b.fileno() >= 0
    files[0].close()
    files[1].write(b"last")
    files[1].close()
    assert b.fileno() == -1
    assert recv_all(a) == b"last"


def test_makefile_looks_like_any_file(lib, ends):
    with ends[0].makefile("rb") as file:
        assert repr(file) == f"<_io.BufferedReader name={ends[0].fileno()}>"


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


# ---------------------------------------------------------------- closed without the socket's knowledge


@pytest.mark.parametrize("flag", [True, False])
def test_setblocking_on_a_descriptor_that_is_closed_raises(lib, flag):
    sock = lib.module("socket").socket()
    os.close(sock.fileno())
    with pytest.raises(OSError) as caught:
        sock.setblocking(flag)
    assert caught.value.errno == errno.EBADF
    assert sock.detach() >= 0


def test_sendto_without_an_address_raises(lib):
    with lib.module("socket").socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(TypeError, match="NoneType"):
            sock.sendto(b"x", None)
        with pytest.raises(TypeError, match="NoneType"):
            sock.sendto(b"x", 0, None)
