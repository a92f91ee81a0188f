"""BackdoorServer: a Python prompt for each connection, with input and output of its own."""

import sys

import pytest
from serving import LOCALHOST, read_all

import gevlite
from gevlite.backdoor import BackdoorServer

ANY = (LOCALHOST, 0)


class Prompt:
    def __init__(self, sock):
        self.sock = sock

    def read(self, until=b">>> "):
        data = b""
        while not data.endswith(until):
            piece = self.sock.recv(4096)
            assert piece, f"closed after {data!r}"
            data += piece
        return data.removesuffix(until).decode()

    def type(self, line, until=b">>> "):
        self.sock.sendall(line.encode() + b"\n")
        return self.read(until)


@pytest.fixture
def knock(dial):
    """`knock(server)`: a Prompt that has shown its banner."""

    def connect(server):
        prompt = Prompt(dial(server))
        prompt.banner = prompt.read()
        return prompt

    return connect


def test_banner_and_locals(serve, knock):
    prompt = knock(serve(BackdoorServer(ANY, locals={"foo": 5}, banner="hi there")))
    assert prompt.banner == "hi there\n"
    assert prompt.type("foo") == "5\n"
    assert prompt.type("__name__") == "'__console__'\n"


def test_the_default_banner_names_python(serve, knock):
    assert sys.version in knock(serve(BackdoorServer(ANY))).banner


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["1 + 1"], "2\n"),
        (["None"], ""),
        (["'x'\r"], "'x'\n"),
        (["print(3, end='')"], "3"),
        (["import sys; sys.stderr.write('err') and None"], "err"),
        (["6 * 7", "_"], "42\n"),
        (["'\u00fc'"], "'\u00fc'\n"),
        (["print('\\udc80')"], "\\udc80\n"),
    ],
)
def test_lines(serve, knock, lines, answer):
    prompt = knock(serve(BackdoorServer(ANY)))
    for line in lines:
        shown = prompt.type(line)
    assert shown == answer


def test_several_lines_make_a_block(serve, knock):
    prompt = knock(serve(BackdoorServer(ANY)))
    assert prompt.type("for i in range(2):", b"... ") == ""
    assert prompt.type("    print(i)", b"... ") == ""
    assert prompt.type("") == "0\n1\n"


def test_errors_are_shown_and_the_prompt_goes_on(serve, knock, errors):
    prompt = knock(serve(BackdoorServer(ANY)))
    assert prompt.type("1/0").endswith("ZeroDivisionError: division by zero\n")
    assert "SyntaxError" in prompt.type("1 +* 2")
    assert prompt.type("1") == "1\n"
    assert errors == []


def test_input_reads_from_the_connection(serve, knock):
    prompt = knock(serve(BackdoorServer(ANY)))
    assert prompt.type("input('name? ')", b"? ") == "name"
    assert prompt.type("me") == "'me'\n"
    assert prompt.type("import sys; next(iter(sys.stdin))", b"") == ""
    assert prompt.type("line") == "'line\\n'\n"


@pytest.mark.parametrize("line", ["exit()", "raise SystemExit", "import sys; sys.exit(3)"])
def test_exit_hangs_up_and_the_process_goes_on(serve, knock, errors, line):
    prompt = knock(serve(BackdoorServer(ANY)))
    prompt.sock.sendall(line.encode() + b"\n")
    assert read_all(prompt.sock) == b""
    assert errors == []


def test_what_one_prompt_defines_no_other_knows(serve, knock):
    server = serve(BackdoorServer(ANY))
    first, second = knock(server), knock(server)
    first.type("secret = 1")
    assert "NameError" in second.type("secret")
    assert "NameError" in second.type("_")


def test_output_goes_to_its_own_prompt_while_several_run(serve, knock):
    server = serve(BackdoorServer(ANY, locals={"gevlite": gevlite}))
    prompts = [knock(server) for _ in range(5)]
    for n, prompt in enumerate(prompts):
        prompt.sock.sendall(b"for i in range(3): gevlite.sleep(0); print(%d)\n\n" % n)
    for n, prompt in enumerate(prompts):
        assert prompt.read() == f"... {n}\n{n}\n{n}\n"


def test_others_print_where_they_always_did(serve, knock, capsys):
    before = sys.stdout, sys.stderr, sys.stdin, sys.displayhook
    prompt = knock(serve(BackdoorServer(ANY)))
    print("not for the prompt")
    assert capsys.readouterr().out == "not for the prompt\n"
    assert prompt.type("1") == "1\n"
    prompt.sock.close()
    while (sys.stdout, sys.stderr, sys.stdin, sys.displayhook) != before:
        gevlite.sleep(0.001)


def test_a_stream_that_somebody_else_has_replaced_stays_replaced(serve, knock, monkeypatch):
    prompt = knock(serve(BackdoorServer(ANY)))
    mine = object()
    stand_in = sys.stdin
    sys.stdin = mine
    try:
        prompt.sock.sendall(b"exit()\n")
        read_all(prompt.sock)
        assert sys.stdin is mine
    finally:
        sys.stdin = vars(stand_in)["_original"]


def test_a_client_that_goes_away_ends_its_greenlet_without_a_report(serve, knock, errors, settle):
    server = serve(BackdoorServer(ANY, locals={"sleep": gevlite.sleep}))
    quiet, busy = knock(server), knock(server)
    busy.sock.sendall(b"for i in range(10**6): sleep(0.001); print('x' * 10000)\n\n")
    busy.read(b"... ")
    quiet.sock.close()
    busy.sock.close()
    assert settle(lambda: not server._serving)
    assert errors == []


def test_stop_with_a_pool_hangs_up(serve, knock):
    server = serve(BackdoorServer(ANY, spawn=3))
    prompt = knock(server)
    server.stop(0.01)
    assert read_all(prompt.sock) == b""


@pytest.mark.parametrize("listener", [0, ("", 0), ":0", "0"], ids=str)
def test_without_a_host_only_this_machine_can_connect(serve, listener):
    with pytest.warns(RuntimeWarning, match="127.0.0.1 only"):
        server = BackdoorServer(listener)
    assert serve(server).server_host == "127.0.0.1"


@pytest.mark.parametrize("listener", [("0.0.0.0", 0), "0.0.0.0:0", ("127.0.0.1", 0), "[::1]:0"], ids=str)
def test_a_host_that_is_named_is_heeded(serve, listener):
    server = serve(BackdoorServer(listener))
    assert server.server_host == (listener[0] if isinstance(listener, tuple) else listener[:-2].strip("[]"))
