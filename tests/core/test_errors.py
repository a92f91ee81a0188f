"""Uncaught errors: where they are reported, what may be replaced, and where the frames of a killed greenlet end."""

import contextvars
import gc
import io
import os
import signal
import weakref

import pytest

import gevlite
from gevlite.event import Event
from gevlite.hub import Hub, get_hub


@pytest.fixture(name="stream")
def stream_fixture():
    hub = get_hub()
    hub.exception_stream = io.StringIO()
    yield hub.exception_stream
    hub.exception_stream = None


class Expected(Exception):
    pass


def fails():
    raise Expected("in a greenlet")


def test_what_counts_as_an_error_may_be_set_on_the_class(monkeypatch, stream):
    assert type(get_hub()) is Hub
    monkeypatch.setattr(Hub, "NOT_ERROR", (*Hub.NOT_ERROR, Expected))
    gevlite.spawn(fails).join()
    assert stream.getvalue() == ""
    monkeypatch.setattr(Hub, "SYSTEM_ERROR", (Expected,))
    gevlite.spawn_later(0, fails)
    with pytest.raises(Expected):
        gevlite.sleep(10)


@pytest.mark.parametrize("name", ["handle_error", "print_exception"])
def test_who_reports_may_be_set_on_the_class(monkeypatch, name):
    seen = []
    monkeypatch.setattr(Hub, name, lambda self, context, kind, value, tb: seen.append((context, kind)))
    g = gevlite.spawn(fails)
    g.join()
    assert seen == [(g, Expected)]


def test_a_handle_error_that_fails_hits_nobody_and_both_errors_are_printed(monkeypatch, stream):
    def broken(self, *args):
        raise AttributeError("a bug of the reporter")

    monkeypatch.setattr(Hub, "handle_error", broken)
    g = gevlite.spawn(fails)
    gevlite.sleep(0.001)
    with pytest.raises(Expected):
        g.get()
    get_hub().call_soon(fails)
    gevlite.sleep(0.001)
    assert stream.getvalue().count(" failed with Expected") == 2
    assert stream.getvalue().count("Hub.handle_error failed with AttributeError") == 2


def test_a_print_exception_that_fails_hits_nobody(monkeypatch, stream):
    monkeypatch.setattr(Hub, "print_exception", lambda *args: 1 / 0)
    gevlite.spawn(fails).join()
    gevlite.sleep(0.001)
    assert "in a greenlet\n" in stream.getvalue() and "ZeroDivisionError" in stream.getvalue()


@pytest.mark.parametrize("wish", [KeyboardInterrupt, SystemExit])
def test_a_handle_error_that_wants_to_end_the_program_is_heard(monkeypatch, wish):
    def end(self, *args):
        raise wish

    monkeypatch.setattr(Hub, "handle_error", end)
    gevlite.spawn(fails)
    with pytest.raises(wish):
        gevlite.sleep(10)


def test_what_a_signal_handler_raises_is_raised_in_the_main_greenlet(stream):
    handler = gevlite.signal_handler(signal.SIGUSR1, fails)
    try:
        gevlite.spawn(os.kill, os.getpid(), signal.SIGUSR1)
        with pytest.raises(Expected):
            gevlite.sleep(10)
    finally:
        handler.cancel()
    assert stream.getvalue() == ""


def test_the_frames_of_a_killed_greenlet_end_in_its_own_context(errors):
    variable = contextvars.ContextVar("variable")
    outcome = []

    class Witness:
        def __del__(self):
            outcome.append((gevlite.getcurrent(), variable.get(None)))

    def reset_at_end():
        token = variable.set("inner")
        try:
            yield
        finally:
            variable.reset(token)  # ValueError in another context

    def body(inside):
        variable.set("outer")
        opened = reset_at_end()
        next(opened)
        witness = Witness()  # noqa: F841
        try:
            raise KeyError
        except KeyError:
            inside.set()
            gevlite.sleep(100)

    inside = Event()
    g = gevlite.spawn(body, inside)
    inside.wait()
    g.kill()
    assert [got for got, _ in outcome] == [g]
    assert outcome[0][1] in ("inner", "outer") and isinstance(g.value, gevlite.GreenletExit) and not errors


def test_a_killed_greenlet_keeps_nothing_of_its_caller_alive():
    class Thing:
        pass

    def body(thing):
        gevlite.sleep(100)

    thing = Thing()
    gone = weakref.ref(thing)
    g = gevlite.spawn(body, thing)
    gevlite.sleep(0)
    del thing
    g.kill()
    gc.collect()
    assert gone() is None
