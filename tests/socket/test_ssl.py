"""gevlite.ssl: TLS as the original does it, blocking only the greenlet that calls.

Tests that take `lib` run twice with the same assertions: against the original in threads, then against the twin.
"""

import contextlib
import errno
import gc
import http.client
import io
import os
import socket as std_socket
import ssl as std_ssl
import urllib.request
import weakref

import pytest
from both_ends import LOCALHOST, let_run, recv_all, recv_exactly, refused, reset, unix_pair, waiting_for
from tls_pair import BIG, Pair, client_context, hang_up, server_context

from gevlite import socket, ssl

# ---------------------------------------------------------------- data


def test_echo(lib, tls_ends):
    client, server = tls_ends

    def echo():
        while data := server.recv(1000):
            server.sendall(data)
        server.unwrap()

    peer = lib.spawn(echo)
    for message in (b"one", b"two" * 5000, b"\0"):
        assert client.sendall(message) is None
        assert recv_exactly(client, len(message)) == message
    plain = client.unwrap()
    assert plain is client
    peer.get()


def test_a_reader_that_came_first(lib, tls_ends):
    """It is woken by each record, and nothing stays behind in OpenSSL's buffer."""
    client, server = tls_ends
    reader = lib.spawn(recv_exactly, server, 60_000)
    for i in range(20):
        client.sendall(BIG[i * 3000 : (i + 1) * 3000])
    assert reader.get() == BIG[:60_000]


def test_small_reads_of_one_record(lib, tls_ends):
    """After the first read nothing is left in the kernel, but OpenSSL still has data: the next must not wait."""
    client, server = tls_ends
    client.sendall(b"0123456789")
    assert server.recv(1) == b"0"
    assert server.pending() == 9
    assert [server.recv(2) for _ in range(4)] == [b"12", b"34", b"56", b"78"]
    assert server.recv(100) == b"9"
    assert server.pending() == 0
    reader = lib.spawn(server.recv, 100)
    client.sendall(b"next")
    assert reader.get() == b"next"


def test_recv_into(tls_ends):
    client, server = tls_ends
    client.sendall(b"abcdefgh")
    buffer = bytearray(10)
    assert server.recv_into(buffer, 2) == 2
    assert server.recv_into(memoryview(buffer)[2:4]) == 2
    assert server.read(3, buffer) == 3
    assert buffer == b"efgd" + bytes(6)
    assert server.read(1) == b"h"


def test_reading_nothing_does_not_wait(tls_ends):
    client, server = tls_ends
    client.sendall(b"xy")
    assert server.recv(1) == b"x"
    assert server.recv(0) == b""
    assert server.recv(1) == b"y"
    assert server.recv(0) == b""
    assert server.recv_into(bytearray()) == 0
    with pytest.raises(ValueError):
        server.recv(-1)


def test_send_and_write(lib, tls_ends):
    client, server = tls_ends
    assert client.send(b"abc") == 3
    assert client.write(memoryview(b"de")) == 2
    assert client.send(b"") == 0
    client.sendall(b"")
    client.sendall(bytearray(b"f"))
    assert recv_exactly(server, 6) == b"abcdef"
    for bad in ("text", 5, None):
        with pytest.raises(TypeError):
            client.send(bad)
        with pytest.raises(TypeError):
            client.sendall(bad)


def test_sendall_to_a_slow_reader(lib, tls_ends):
    client, server = tls_ends
    writer = lib.spawn(client.sendall, memoryview(BIG).cast("I"))
    assert recv_exactly(server, len(BIG)) == BIG
    writer.get()


def test_full_duplex(tls_ours, start):
    """One greenlet reads and one writes on each end, with full buffers in both directions.

    (The original's object may not be used by two threads at once everywhere.)
    """
    client, server = tls_ours
    other = BIG[::-1]
    tasks = [
        start(client.sendall, BIG),
        start(server.sendall, other),
        start(recv_exactly, client, len(other)),
        start(recv_exactly, server, len(BIG)),
    ]
    assert [task.get() for task in tasks] == [None, None, other, BIG]


def test_writers_take_turns(tls_ours, start):
    """A record that waits for room is finished before another greenlet's begins; no byte is lost or doubled."""
    client, server = tls_ours
    letters = b"abcdefgh"
    writers = [start(client.sendall, bytes([letter]) * 300_000) for letter in letters]
    data = recv_exactly(server, 300_000 * len(letters))
    for writer in writers:
        writer.get()
    assert {letter: data.count(letter) for letter in letters} == dict.fromkeys(letters, 300_000)


def test_readers_share(tls_ours, start, settle):
    """Several readers: each byte goes to one, even if one record serves all of them."""
    client, server = tls_ours
    client.sendall(b"!")
    assert server.recv(1) == b"!"
    readers = [start(server.recv, 1) for _ in range(10)]
    assert settle(waiting_for(10))
    client.sendall(b"0123456789")
    assert sorted(reader.get() for reader in readers) == [b"%d" % i for i in range(10)]


def test_makefile(lib, tls_ends):
    client, server = tls_ends

    def upper():
        with server.makefile("rwb") as file:
            server.close()
            for line in file:
                file.write(line.upper())
                file.flush()

    peer = lib.spawn(upper)
    with client.makefile("rw", encoding="utf-8", newline="\n") as file:
        for line in ("eins\n", "zwei\n"):
            file.write(line)
            file.flush()
            assert file.readline() == line.upper()
    hang_up(client)
    peer.get()


@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, 100_000)])
def test_sendfile(lib, tls_ends, tmp_path, offset, count):
    client, server = tls_ends
    (tmp_path / "file").write_bytes(BIG[:500_000])
    expected = BIG[offset : 500_000 if count is None else offset + count]
    reader = lib.spawn(recv_exactly, server, len(expected))
    with (tmp_path / "file").open("rb") as file:
        assert client.sendfile(file, offset, count) == len(expected)
        assert file.tell() == offset + len(expected)
    assert reader.get() == expected
    assert client.sendfile(io.BytesIO(b"memory")) == 6
    assert recv_exactly(server, 6) == b"memory"


def test_flags_and_datagram_calls_are_refused(tls_ends):
    client, _server = tls_ends
    for call in (
        lambda: client.recv(1, std_socket.MSG_PEEK),
        lambda: client.recv_into(bytearray(1), 1, std_socket.MSG_PEEK),
        lambda: client.send(b"x", std_socket.MSG_OOB),
        lambda: client.sendall(b"x", std_socket.MSG_OOB),
        lambda: client.recvfrom(1),
        lambda: client.recvfrom_into(bytearray(1)),
        lambda: client.sendto(b"x", ("127.0.0.1", 1)),
        lambda: client.sendto(b"x", 0, ("127.0.0.1", 1)),
    ):
        with pytest.raises(ValueError, match="not allowed"):
            call()
    for call in (client.dup, lambda: client.recvmsg(1), lambda: client.recvmsg_into([]), lambda: client.sendmsg([b""])):
        with pytest.raises(NotImplementedError):
            call()


# ---------------------------------------------------------------- the end


def test_ragged_end_is_an_end(lib, tls_ends):
    """A peer that ends the connection without goodbye: b"" by default."""
    client, server = tls_ends
    client.sendall(b"x")
    assert server.recv(10) == b"x"
    reader = lib.spawn(lambda: (server.recv(10), server.recv(10)))
    let_run(lib)
    hang_up(client)
    assert reader.get() == (b"", b"")
    assert server.recv_into(bytearray(1)) == 0


def test_ragged_end_can_be_an_error(lib, opened, certificates):
    client, server = Pair(lib, opened, certificates, suppress_ragged_eofs=False)
    server.close()
    with pytest.raises(std_ssl.SSLEOFError):
        client.recv(10)


def test_goodbye_is_an_end_that_stays(lib, tls_ends):
    """After the peer's goodbye every read says so at once, though the connection below is still open."""
    client, server = tls_ends
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    goodbye = lib.spawn(client.unwrap)
    assert server.recv(10) == b""
    assert server.recv(10) == b""
    assert server.unwrap() is server
    goodbye.get()
    client.sendall(b"clear text")
    assert server.recv(100) == b"clear text"
    with pytest.raises(ValueError):
        server.unwrap()
    with pytest.raises(ValueError):
        server.read(1)
    with pytest.raises(ValueError):
        server.write(b"x")


def test_shutdown(tls_ends):
    """Below TLS; what is sent after it would be clear text, so there is no more."""
    client, server = tls_ends
    client.shutdown(std_socket.SHUT_WR)
    assert server.recv(10) == b""
    assert client.version() is None


def test_closed(tls_ends):
    client, _server = tls_ends
    client.close()
    assert client.fileno() == -1
    for call in (lambda: client.recv(1), lambda: client.send(b"x"), lambda: client.sendall(b"x")):
        with refused(errno.EBADF):
            call()
    for call in (client.read, lambda: client.write(b"x"), client.unwrap):
        with pytest.raises(ValueError):
            call()


def test_reset_by_peer(lib, opened, certificates):
    """OpenSSL reports a ragged end, or the reset."""
    client, server = Pair(lib, opened, certificates, suppress_ragged_eofs=False)
    reader = lib.spawn(client.recv, 10)
    reset(server)
    with pytest.raises((ConnectionResetError, std_ssl.SSLEOFError)):
        reader.get()


def test_closing_wakes_who_waits(tls_ours, start, settle):
    client, _server = tls_ours
    reader, writer = start(client.recv, 10), start(client.sendall, BIG)
    assert settle(waiting_for(2))
    client.close()
    for waiter in (reader, writer):
        with refused(errno.EBADF):
            waiter.get()


def test_nothing_keeps_it_alive(start, certificates):
    """No reference cycle: a socket that is dropped is gone at once, after reads, time-outs and errors too."""
    a, b = socket.socketpair()
    context = server_context(ssl, certificates)
    handle = start(lambda: context.wrap_socket(b, server_side=True))
    client = client_context(ssl, certificates).wrap_socket(a, server_hostname="localhost")
    server = handle.get()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    server.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.recv(1)
    alive = weakref.ref(server)
    gc.disable()
    try:
        with pytest.warns(ResourceWarning):
            del server, handle
            start.__self__.started.clear()
        assert alive() is None
        with contextlib.suppress(BrokenPipeError):  # OpenSSL 3.6 answers a ragged end by an alert
            assert client.recv(10) == b""
    finally:
        gc.enable()
        client.close()


# ---------------------------------------------------------------- connect and accept


def test_wrapped_listener_and_wrapped_client(lib, tls, sockets, opened, certificates):
    """accept() of a wrapped listener shakes hands; connect() of a wrapped socket connects and does too."""
    listener = opened.enter_context(
        server_context(tls, certificates).wrap_socket(sockets.create_server((LOCALHOST, 0)), server_side=True)
    )

    def serve():
        connection, address = listener.accept()
        with connection:
            assert isinstance(connection, tls.SSLSocket)
            connection.sendall(b"hello")
            return address

    server = lib.spawn(serve)
    client = opened.enter_context(
        client_context(tls, certificates).wrap_socket(sockets.socket(), server_hostname="localhost")
    )
    assert client.version() is None
    with refused(errno.ENOTCONN):
        client.do_handshake()
    client.connect(listener.getsockname())
    assert recv_all(client) == b"hello"
    assert server.get() == client.getsockname()
    with pytest.raises(ValueError):
        client.connect(listener.getsockname())
    with pytest.raises(ValueError):
        listener.connect((LOCALHOST, 1))


def test_wrapped_client_connect_ex(lib, tls, sockets, opened, certificates):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        nobody = listener.getsockname()
    context = client_context(tls, certificates)
    client = opened.enter_context(context.wrap_socket(sockets.socket(), server_hostname="localhost"))
    assert client.connect_ex(nobody) == errno.ECONNREFUSED
    client = opened.enter_context(context.wrap_socket(sockets.socket(), server_hostname="localhost"))
    with pytest.raises(ConnectionRefusedError):
        client.connect(nobody)


def test_accept_of_a_client_that_speaks_no_tls(lib, tls, sockets, opened, certificates):
    """accept() raises the error, and the listener goes on."""
    listener = opened.enter_context(
        server_context(tls, certificates).wrap_socket(sockets.create_server((LOCALHOST, 0)), server_side=True)
    )
    server = lib.spawn(listener.accept)
    with sockets.create_connection(listener.getsockname()) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
        with pytest.raises((std_ssl.SSLError, ConnectionResetError)):
            server.get()
    server = lib.spawn(lambda: listener.accept()[0])
    raw = opened.enter_context(sockets.create_connection(listener.getsockname()))
    opened.enter_context(client_context(tls, certificates).wrap_socket(raw, server_hostname="localhost"))
    opened.enter_context(server.get())


def test_data_before_the_handshake_of_a_dead_connection(lib, tls, sockets, opened, certificates):
    """Bytes received before TLS, on a connection that is gone: never to be taken for decrypted ones."""
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    a = opened.enter_context(sockets.create_connection(listener.getsockname()))
    b = opened.enter_context(listener.accept()[0])
    a.sendall(b"early")
    b.recv(5, std_socket.MSG_PEEK)
    reset(a)
    with pytest.raises(OSError):
        with server_context(tls, certificates).wrap_socket(b, server_side=True) as sock:
            sock.recv(10)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"server_side": True, "server_hostname": "localhost"}, ValueError),
        ({}, ValueError),
        ({"server_hostname": ".bad"}, ValueError),
        ({"server_hostname": 5}, (TypeError, AttributeError)),
    ],
)
def test_bad_arguments(tls, sockets, opened, certificates, arguments, error):
    a, _b = unix_pair(sockets, opened)
    context = client_context(tls, certificates)
    with pytest.raises(error):
        context.wrap_socket(a, do_handshake_on_connect=False, **arguments)
    gc.collect()  # 3.11 and 3.12 leave the descriptor to the collector


def test_datagrams_are_refused(tls, sockets, opened, certificates):
    sock = opened.enter_context(sockets.socket(std_socket.AF_INET, std_socket.SOCK_DGRAM))
    with pytest.raises(NotImplementedError):
        client_context(tls, certificates).wrap_socket(sock, server_hostname="localhost")
    with pytest.raises(TypeError):
        tls.SSLSocket()


# ---------------------------------------------------------------- the module and its classes


def test_classes(tls_ours, opened, certificates):
    client, server = tls_ours
    for sock in (client, server):
        assert isinstance(sock, ssl.SSLSocket)
        assert isinstance(sock, std_ssl.SSLSocket)
        assert isinstance(sock, socket.socket)
        assert isinstance(sock, std_socket.socket)
    assert isinstance(tls_ours.client_context, std_ssl.SSLContext)
    for function in (ssl.create_default_context, ssl._create_unverified_context, ssl._create_stdlib_context):
        assert type(function()) is ssl.SSLContext
    a, _b = unix_pair(socket, opened)
    # The original had it, deprecated, up to Python 3.11; from then on it is our own, for old code.
    warning = pytest.warns(DeprecationWarning) if hasattr(std_ssl, "wrap_socket") else contextlib.nullcontext()
    with warning, ssl.wrap_socket(a, do_handshake_on_connect=False) as sock:
        assert type(sock) is ssl.SSLSocket


def test_everything_of_the_original_is_there():
    assert [name for name in dir(std_ssl) if not name.startswith("__") and not hasattr(ssl, name)] == []


def test_a_standard_socket_can_be_wrapped(start, opened, certificates):
    """As http.client does when ssl is patched and its socket was made before."""
    a, b = (opened.enter_context(end) for end in std_socket.socketpair())
    a.settimeout(5)
    server = start(lambda: server_context(ssl, certificates).wrap_socket(b, server_side=True))
    client = opened.enter_context(client_context(ssl, certificates).wrap_socket(a, server_hostname="localhost"))
    server = opened.enter_context(server.get())
    assert client.gettimeout() == 5.0
    client.sendall(b"x")
    assert server.recv(1) == b"x"


def set_every_property(context):
    context.options |= std_ssl.OP_NO_TICKET
    assert isinstance(context.options, std_ssl.Options)
    assert context.options & std_ssl.OP_NO_TICKET
    context.minimum_version = std_ssl.TLSVersion.TLSv1_2
    assert context.minimum_version is std_ssl.TLSVersion.TLSv1_2
    context.maximum_version = std_ssl.TLSVersion.TLSv1_3
    assert context.maximum_version is std_ssl.TLSVersion.TLSv1_3
    context.verify_flags |= std_ssl.VERIFY_X509_STRICT
    assert context.verify_flags & std_ssl.VERIFY_X509_STRICT
    context.verify_mode = std_ssl.CERT_OPTIONAL
    assert context.verify_mode is std_ssl.CERT_OPTIONAL
    context.sni_callback = len
    assert context.sni_callback is len
    context._msg_callback = print
    assert context._msg_callback is print
    context._msg_callback = None
    context.hostname_checks_common_name = False
    assert context.hostname_checks_common_name is False
    context.post_handshake_auth = True
    context.check_hostname = True
    assert isinstance(context.protocol, std_ssl._SSLMethod)


@pytest.mark.parametrize("patched", [False, True])
def test_context_properties(monkeypatch, patched):
    """With ssl.SSLContext replaced, the original's setters would call themselves endlessly."""
    if patched:
        monkeypatch.setattr(std_ssl, "SSLContext", ssl.SSLContext)
    set_every_property(ssl.SSLContext(std_ssl.PROTOCOL_TLS_SERVER))


def test_contexts_made_before_patching(monkeypatch, tls_ours, start, opened, certificates):
    """With SAFE_PROPERTIES and sslsocket_class put into the original class they are cooperative, too."""
    early = server_context(std_ssl, certificates)
    assert type(early) is std_ssl.SSLContext
    original = std_ssl.SSLContext
    for name, value in ssl.SAFE_PROPERTIES.items():
        monkeypatch.setattr(original, name, value)
    monkeypatch.setattr(original, "sslsocket_class", ssl.SSLSocket)
    monkeypatch.setattr(std_ssl, "SSLContext", ssl.SSLContext)
    monkeypatch.setattr(std_ssl, "SSLSocket", ssl.SSLSocket)
    a, b = unix_pair(socket, opened)
    server = start(lambda: early.wrap_socket(b, server_side=True))
    opened.enter_context(client_context(ssl, certificates).wrap_socket(a, server_hostname="localhost"))
    assert type(opened.enter_context(server.get())) is ssl.SSLSocket
    set_every_property(early)


def test_memory_bio_is_the_original(certificates):
    """wrap_bio does no I/O: SSLObject and MemoryBIO are not ours."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(ssl, certificates).wrap_bio(incoming, outgoing, server_hostname="localhost")
    server = server_context(ssl, certificates).wrap_bio(outgoing, incoming, server_side=True)
    assert type(client) is std_ssl.SSLObject
    done = set()
    while len(done) < 2:
        for end in (client, server):
            try:
                end.do_handshake()
                done.add(end)
            except std_ssl.SSLWantReadError:
                pass
    client.write(b"through memory")
    assert server.read(100) == b"through memory"


# ---------------------------------------------------------------- the standard library's clients


@pytest.fixture
def https(start, opened, certificates):
    """A server of gevlite that answers each request with its path; returns its port."""
    context = server_context(ssl, certificates)
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))

    def answer(raw):
        with context.wrap_socket(raw, server_side=True) as sock, sock.makefile("rwb") as file:
            while request := file.readline():
                while file.readline().strip():
                    pass
                path = request.split()[1]
                file.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
                file.flush()

    def serve():
        while True:
            start(answer, listener.accept()[0])

    start(serve)
    return listener.getsockname()[1]


@pytest.fixture
def patched(monkeypatch):
    """The effect of patching on the modules, as far as these clients use them."""
    for tls_ours, original in ((socket, std_socket), (ssl, std_ssl)):
        for name in tls_ours.__implements__:
            monkeypatch.setattr(original, name, getattr(tls_ours, name))


def test_http_client(patched, https, certificates):
    context = std_ssl.create_default_context(cafile=certificates.ca)
    assert type(context) is ssl.SSLContext
    connection = http.client.HTTPSConnection("localhost", https, context=context, timeout=5)
    try:
        for path in ("/one", "/two"):
            connection.request("GET", path)
            assert connection.getresponse().read() == path.encode()
    finally:
        connection.close()


def test_urllib(patched, https, certificates):
    context = std_ssl.create_default_context(cafile=certificates.ca)
    with urllib.request.urlopen(f"https://localhost:{https}/path", context=context, timeout=5) as response:
        assert response.read() == b"/path"


def test_many_clients_at_once(patched, https, certificates, start):
    context = std_ssl.create_default_context(cafile=certificates.ca)

    def fetch(i):
        with urllib.request.urlopen(f"https://localhost:{https}/{i}", context=context, timeout=20) as response:
            return response.read()

    clients = [start(fetch, i) for i in range(30)]
    assert [client.get() for client in clients] == [b"/%d" % i for i in range(30)]


def test_a_host_name_that_cannot_be_encoded_closes_the_socket(tls, sockets):
    """As for any failure in wrap_socket: the descriptor is not left open."""
    sock = sockets.socket()
    fd = sock.fileno()
    with pytest.raises(UnicodeError):
        tls.create_default_context().wrap_socket(sock, server_hostname="." + "a" * 70 + ".")
    assert sock.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(fd)


def test_sendto_before_tls_begins_is_that_of_the_socket(tls, sockets):
    with sockets.socket() as sock:
        context = tls.SSLContext(std_ssl.PROTOCOL_TLS_CLIENT)
        with context.wrap_socket(sock, server_hostname="localhost") as wrapped, pytest.raises(OSError):
            wrapped.sendto(b"x", ("0.0.0.0", 0))
