"""A name server on 127.0.0.1, and resolvers that ask it."""

import contextlib
import socket
import struct
import threading

import pytest

try:
    import dns.flags
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdatatype
    import dns.rrset
except ImportError:
    dns = None

from gevlite import resolver as resolvers
from gevlite.resolver._hosts import Hosts

ZONE = {
    ("example.test.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("example.test.", "AAAA"): ["2001:db8::1"],
    ("v4.test.", "A"): ["192.0.2.4"],
    ("v6.test.", "AAAA"): ["2001:db8::6"],
    ("alias.test.", "CNAME"): ["second.test."],
    ("second.test.", "CNAME"): ["example.test."],
    ("text.test.", "TXT"): ["no address"],
    ("loopback.test.", "A"): ["127.0.0.1"],
    ("host.search.test.", "A"): ["192.0.2.5"],
    ("xn--mller-kva.test.", "A"): ["192.0.2.7"],
    ("big.test.", "A"): [f"198.51.100.{number}" for number in range(1, 201)],
    ("1.2.0.192.in-addr.arpa.", "PTR"): ["example.test."],
    ("2.2.0.192.in-addr.arpa.", "PTR"): ["one.test.", "two.test."],
    ("1" + 23 * ".0" + ".8.b.d.0.1.0.0.2.ip6.arpa.", "PTR"): ["example.test."],
}
SEARCH = "search.test"


def sockets_on_one_port():
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()


class NameServer:
    """Answers from ZONE, over UDP and TCP. For other names, the first label selects an error."""

    def __init__(self):
        self.udp, self.tcp = sockets_on_one_port()
        self.port = self.tcp.getsockname()[1]
        self.questions = []
        self.silent = threading.Event()  # answer nothing at all
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", ("127.0.0.1", self.port))
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        for thread in self.threads:
            thread.join(10)
        self.udp.close()
        self.tcp.close()

    def serve_udp(self):
        while True:
            question, client = self.udp.recvfrom(65536)
            if not question:
                return
            for answer in self.answers(question, tcp=False):
                self.udp.sendto(answer, client)

    def serve_tcp(self):
        while True:
            connection, _ = self.tcp.accept()
            with connection, connection.makefile("rb") as file:
                size = file.read(2)
                if not size:
                    return
                for answer in self.answers(file.read(struct.unpack("!H", size)[0]), tcp=True):
                    connection.sendall(struct.pack("!H", len(answer)) + answer)

    def answers(self, wire, tcp):
        question = dns.message.from_wire(wire)
        name = question.question[0].name
        kind = dns.rdatatype.to_text(question.question[0].rdtype)
        owner = name.to_text().lower()
        self.questions.append((owner, kind, "tcp" if tcp else "udp"))
        fault = owner.partition(".")[0]
        if fault == "silent" or self.silent.is_set():
            return
        answer = dns.message.make_response(question)
        rcode = {"servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED, "formerr": dns.rcode.FORMERR}.get(fault)
        if rcode is not None:
            answer.set_rcode(rcode)
            yield answer.to_wire()
            return
        if fault == "malformed":
            yield wire[:2] + b"\xff" * 20
            return
        if fault == "other":
            yield bytes(byte ^ 0xFF for byte in wire[:2]) + answer.to_wire()[2:]  # to another question
            owner = "v4.test."
        found = False
        while (owner, "CNAME") in ZONE:
            (target,) = ZONE[owner, "CNAME"]
            answer.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", target))
            owner, found = target, True
        if (owner, kind) in ZONE:
            written = name if fault == "other" else owner
            answer.answer.append(dns.rrset.from_text(written, 60, "IN", kind, *ZONE[owner, kind]))
        elif not found and not any(known == owner for known, _ in ZONE):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        whole = answer.to_wire(max_size=65535)
        if not tcp and len(whole) > 1200:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            whole = answer.to_wire()
        yield whole


@pytest.fixture
def server():
    if dns is None:
        pytest.skip("the name server is made with dnspython")
    made = NameServer()
    yield made
    made.close()


@pytest.fixture
def use_resolver(hub):
    """`use_resolver(resolver)`: it is the hub's until the end of the test."""
    with contextlib.ExitStack() as stack:
        before = hub.__dict__.get("resolver")

        def use(made):
            stack.callback(made.close)
            hub.resolver = made
            return made

        yield use
    if before is None:
        hub.__dict__.pop("resolver", None)
    else:
        hub.resolver = before


def skip_unless_usable(name):
    problem = resolvers.available()[name]
    if problem is not None:
        pytest.skip(problem)


@pytest.fixture(params=resolvers.names())
def each_resolver(request, use_resolver):
    """Each resolver that can be used here; the hub's."""
    skip_unless_usable(request.param)
    return use_resolver(resolvers.choose(request.param)())


@pytest.fixture(params=["dnspython", "ares"])
def resolver_for(request, use_resolver, tmp_path):
    """`resolver_for(port)`: a resolver that asks 127.0.0.1:port; the hub's. For each kind that asks by itself."""
    skip_unless_usable(request.param)

    def resolver_for(port, timeout=3, tries=3):
        cls = resolvers.choose(request.param)
        if request.param == "ares":
            servers = [f"127.0.0.1:{port}"]
            made = cls(servers=servers, timeout=timeout, tries=tries, domains=[SEARCH], use_environ=False)
        else:
            made = cls()
            made.resolver.nameservers = ["127.0.0.1"]
            made.resolver.port = port
            made.resolver.timeout = timeout
            made.resolver.lifetime = tries * timeout
            made.resolver.search = [dns.name.from_text(SEARCH)]
        (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
        made.hosts = Hosts(tmp_path / "hosts")
        return use_resolver(made)

    return resolver_for


@pytest.fixture
def resolver(resolver_for, server):
    """Each resolver that asks name servers by itself. It asks `server`, and is the hub's."""
    return resolver_for(server.port)


@pytest.fixture
def impatient(resolver_for, server):
    """The same; it soon gives up."""
    return resolver_for(server.port, timeout=0.05, tries=1)
