"""Shared by the tests of TLS: contexts, and two ends that have shaken hands. `module` is the ssl module under test."""

from socket import SHUT_WR

import both_ends
from both_ends import tcp_pair, unix_pair

BIG = both_ends.BIG[: 1 << 22]


def server_context(module, certificates):
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    return context


def client_context(module, certificates):
    return module.create_default_context(cafile=certificates.ca)


class Pair:
    """A client and a server that have shaken hands. `setup(pair)` may change their contexts before."""

    def __init__(self, lib, opened, certificates, family="tcp", setup=None, **client_arguments):
        module, sockets = lib.module("ssl"), lib.module("socket")
        self.server_context = server_context(module, certificates)
        self.client_context = client_context(module, certificates)
        if setup:
            setup(self)
        a, b = (tcp_pair if family == "tcp" else unix_pair)(sockets, opened)
        server = lib.spawn(lambda: self.server_context.wrap_socket(b, server_side=True))
        client_arguments.setdefault("server_hostname", "localhost")
        self.client = opened.enter_context(self.client_context.wrap_socket(a, **client_arguments))
        self.server = opened.enter_context(server.get())

    def __iter__(self):
        return iter((self.client, self.server))


def hang_up(sock):
    """End the connection below TLS, as a peer does that crashes: no goodbye.

    Only our half of it: OpenSSL 3.6 answers with an alert, and if that cannot be sent, a read raises BrokenPipeError
    instead of reporting the end.
    """
    sock.shutdown(SHUT_WR)
