"""The results of a handshake: certificates, names, protocols, sessions; compared with the original."""

import contextlib
import re
import ssl as std_ssl

import pytest
from both_ends import LOCALHOST, recv_exactly, unix_pair
from tls_pair import BIG, Pair, client_context, server_context


def test_what_is_known_of_the_peer(tls_ends):
    client, server = tls_ends
    assert ("DNS", "localhost") in client.getpeercert()["subjectAltName"]
    assert client.getpeercert(True).startswith(b"0")
    assert server.getpeercert() is None
    assert client.version() == server.version() == "TLSv1.3"
    assert client.cipher() == server.cipher()
    assert client.server_hostname == "localhost"
    assert client.server_side is False
    assert server.server_side is True
    assert client.compression() is None
    assert server.shared_ciphers()
    assert client.context.check_hostname is True
    assert client.getpeername() == server.getsockname()


def test_an_unknown_authority(lib, tls, sockets, opened, certificates):
    """Both sides get the error; both descriptors are closed."""
    a, b = unix_pair(sockets, opened)

    def serve():
        with server_context(tls, certificates).wrap_socket(b, server_side=True) as sock:
            sock.recv(1)

    server = lib.spawn(serve)
    with pytest.raises(std_ssl.SSLCertVerificationError) as caught:
        tls.create_default_context(cafile=certificates.client).wrap_socket(a, server_hostname="localhost")
    assert caught.value.verify_code
    with pytest.raises(std_ssl.SSLError, match=re.compile("unknown ca|alert", re.I)):
        server.get()


def test_a_wrong_host_name(lib, tls, sockets, opened, certificates):
    a, b = unix_pair(sockets, opened)
    server = lib.spawn(lambda: server_context(tls, certificates).wrap_socket(b, server_side=True).recv(1))
    with pytest.raises(std_ssl.SSLCertVerificationError, match="Hostname mismatch"):
        client_context(tls, certificates).wrap_socket(a, server_hostname="example.org")
    with pytest.raises(std_ssl.SSLError):
        server.get()


def test_client_certificate(lib, opened, certificates):
    def setup(pair):
        pair.server_context.verify_mode = std_ssl.CERT_REQUIRED
        pair.server_context.load_verify_locations(certificates.ca)
        pair.client_context.load_cert_chain(certificates.client)

    client, server = Pair(lib, opened, certificates, setup=setup)
    assert ("email", "client@example.org") in server.getpeercert()["subjectAltName"]
    client.sendall(b"x")
    assert server.recv(1) == b"x"


def test_alpn(lib, opened, certificates):
    def setup(pair):
        pair.server_context.set_alpn_protocols(["h2", "http/1.1"])
        pair.client_context.set_alpn_protocols(["http/1.1", "spdy/2"])

    client, server = Pair(lib, opened, certificates, setup=setup)
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "http/1.1"


def test_server_name_callback(lib, tls, opened, certificates):
    """Called in the handshake with the new socket, the name and the context; it may change the context."""
    seen = []
    other = server_context(tls, certificates)

    def callback(sock, name, context):
        seen.append((type(sock), name, context is pair_setup.server_context))
        sock.context = other

    def setup(pair):
        nonlocal pair_setup
        pair_setup = pair
        pair.server_context.sni_callback = callback

    pair_setup = None
    _client, server = Pair(lib, opened, certificates, setup=setup)
    assert seen == [(tls.SSLSocket, "localhost", True)]
    assert server.context is other


def test_server_name_callback_can_refuse(lib, opened, certificates):
    def setup(pair):
        pair.server_context.set_servername_callback(lambda sock, name, context: std_ssl.ALERT_DESCRIPTION_ACCESS_DENIED)

    with pytest.raises(std_ssl.SSLError, match=re.compile("access.denied", re.I)):
        Pair(lib, opened, certificates, setup=setup)


def test_session_is_reused(lib, tls, sockets, opened, certificates):
    contexts = {}

    def setup(pair):
        if contexts:
            pair.server_context, pair.client_context = contexts["server"], contexts["client"]
        else:
            pair.client_context.maximum_version = std_ssl.TLSVersion.TLSv1_2
            contexts.update(server=pair.server_context, client=pair.client_context)

    first, _server = Pair(lib, opened, certificates, setup=setup)
    assert first.session_reused is False
    assert isinstance(first.session, std_ssl.SSLSession)
    second, server = Pair(lib, opened, certificates, setup=setup, session=first.session)
    assert second.session_reused is True
    assert server.session_reused is True


def test_tls_1_2(lib, tls_12):
    client, server = tls_12
    assert client.version() == "TLSv1.2"
    reader = lib.spawn(recv_exactly, server, 100_000)
    client.sendall(BIG[:100_000])
    assert reader.get() == BIG[:100_000]
    assert client.get_channel_binding("tls-unique")
    assert client.get_channel_binding() == server.get_channel_binding()


def test_certificate_asked_for_later(lib, opened, certificates):
    """TLS 1.3 post-handshake authentication happens inside ordinary reads and writes."""

    def setup(pair):
        pair.server_context.verify_mode = std_ssl.CERT_REQUIRED
        pair.server_context.load_verify_locations(certificates.ca)
        pair.server_context.post_handshake_auth = True
        pair.client_context.load_cert_chain(certificates.client)
        pair.client_context.post_handshake_auth = True

    client, server = Pair(lib, opened, certificates, setup=setup)
    assert server.getpeercert() is None or not server.getpeercert()
    server.verify_client_post_handshake()
    server.sendall(b"who are you?")
    assert client.recv(100) == b"who are you?"
    client.sendall(b"me")
    assert server.recv(100) == b"me"
    assert ("email", "client@example.org") in server.getpeercert()["subjectAltName"]


def test_get_server_certificate(lib, tls, sockets, opened, certificates):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))

    def serve():
        with server_context(tls, certificates).wrap_socket(listener.accept()[0], server_side=True) as sock:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.recv(1)

    server = lib.spawn(serve)
    pem = tls.get_server_certificate(listener.getsockname(), ca_certs=certificates.ca, timeout=5)
    server.get()
    with open(certificates.server) as file:
        assert pem.strip() in file.read()
