"""Names that exist only because gevent has them: `hub.Waiter`, `gevlite.core` and a few others."""

import pytest

import gevlite
from gevlite import core, hub as gevlite_hub
from gevlite.exceptions import ConcurrentObjectUseError
from gevlite.hub import Waiter


def test_a_waiter_gives_what_was_switched_in_before():
    waiter = Waiter()
    assert not waiter.ready() and waiter.value is None and waiter.exc_info is None
    waiter.switch_args(1, 2)
    assert waiter.ready() and waiter.successful() and waiter.value == (1, 2)
    assert waiter.get() == (1, 2)
    waiter.clear()
    assert not waiter.ready()


def test_a_waiter_raises_what_was_thrown_before():
    waiter = Waiter()
    waiter.throw(KeyError("x"))
    assert waiter.ready() and not waiter.successful() and waiter.exc_info[0] is KeyError
    with pytest.raises(KeyError):
        waiter.get()


def test_a_waiter_is_woken_by_a_callback_in_the_hub(start, settle, hub):
    waiter = Waiter()
    job = start(waiter.get)
    assert settle(lambda: waiter.greenlet is job.greenlet)
    hub.loop.run_callback(waiter.switch, "value")
    assert job.get() == "value" and waiter.greenlet is None


def test_a_waiter_raises_in_who_waits(start, settle):
    waiter = Waiter()
    job = start(waiter.get)
    assert settle(lambda: waiter.greenlet is not None)
    waiter.throw(KeyError, "x", None)
    with pytest.raises(KeyError):
        job.get()


def test_a_waiter_is_for_one(start, settle):
    waiter = Waiter()
    job = start(waiter.get)
    assert settle(lambda: waiter.greenlet is not None)
    with pytest.raises(ConcurrentObjectUseError):
        waiter.get()
    waiter.switch(1)
    assert job.get() == 1


def test_a_timeout_or_a_kill_leaves_the_waiter_free(start, settle):
    waiter = Waiter()
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
        waiter.get()
    job = start(waiter.get)
    assert settle(lambda: waiter.greenlet is not None)
    job.greenlet.kill()
    assert waiter.greenlet is None
    waiter.switch(2)
    assert waiter.get() == 2


def test_the_backends_by_the_names_of_gevent(hub):
    assert set(core.recommended_backends()) <= set(core.supported_backends()) == set(gevlite.backends.names())
    assert core.embeddable_backends() == []
    assert core.get_version() == core.get_header_version() == f"gevlite-{gevlite.__version__}"
    assert isinstance(hub.loop, core.loop)


def test_the_events_of_core_are_those_of_the_loop(hub):
    import os

    reader, writer = os.pipe()
    try:
        seen = []
        with hub.loop.io(writer, core.WRITE) as watcher:
            waiter = Waiter()
            watcher.start(lambda: (seen.append("writable"), watcher.stop(), waiter.switch()))
            waiter.get()
        assert seen == ["writable"]
    finally:
        os.close(reader)
        os.close(writer)


def test_signal_of_the_hub_is_signal_handler():
    assert gevlite_hub.signal is gevlite.signal_handler


def test_extensions_find_what_patches(run_script):
    assert (
        run_script("""
        import time, types
        from gevlite import monkey
        from gevlite.monkey import api
        original = time.sleep
        source = types.SimpleNamespace(__implements__=["sleep"], sleep=lambda seconds: "slept")
        api.patch_module(time, source)
        assert time.sleep(1) == "slept" and api.get_original("time", "sleep") is original
        api.remove_item(time, "sleep")
        assert not hasattr(time, "sleep")
        monkey.unpatch_all()
        assert time.sleep is original
        print("patched")
    """).stdout
        == "patched\n"
    )


def test_main_of_monkey_is_its_command(run_script, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("from gevlite import monkey; print(monkey.is_module_patched('time'))")
    assert run_script("from gevlite import monkey; monkey.main()", str(program)).stdout == "True\n"


def test_the_argument_event_of_gevent_is_taken(run_script):
    assert (
        run_script("""
        from gevlite import monkey
        monkey.patch_thread(Event=True)
        monkey.patch_all(Event=True)
        print("patched")
    """).stdout
        == "patched\n"
    )


def test_a_socket_knows_whether_it_is_closed():
    from gevlite import socket

    for end in (socket.socket.close, socket.socket.detach):
        sock = socket.socket()
        assert not sock.closed
        fd = end(sock)
        assert sock.closed
        if fd is not None:
            socket.close(fd)


def test_writing_an_empty_text_sends_the_head_of_a_response():
    """gevent-websocket does; any other text is refused."""
    from gevlite import socket
    from gevlite.pywsgi import WSGIServer

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "4")])
        write("")
        with pytest.raises(TypeError):
            write("text")
        return [b"body"]

    server = WSGIServer(("127.0.0.1", 0), application, log=None)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
            answer = sock.makefile("rb").read()
    finally:
        server.stop(5)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nbody")
