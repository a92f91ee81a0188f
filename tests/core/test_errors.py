"""Uncaught errors: where they are reported, what may be replaced, and where the frames of a killed greenlet end."""

import contextvars
import gc
import io
import os
import signal
import threading
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


@pytest.mark.uninterrupted
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


@pytest.mark.uninterrupted  # otherwise it might be raised in pytest.raises
@pytest.mark.parametrize("wish", [KeyboardInterrupt, SystemExit])
def test_a_handle_error_that_wants_to_end_the_program_is_heard(monkeypatch, wish):
    def end(self, *args):
        raise wish

    monkeypatch.setattr(Hub, "handle_error", end)
    gevlite.spawn(fails)
    with pytest.raises(wish):
        gevlite.sleep(10)


@pytest.mark.uninterrupted
def test_what_a_signal_handler_raises_is_raised_in_the_main_greenlet(stream):
    handler = gevlite.signal_handler(signal.SIGUSR1, fails)
    try:
        gevlite.spawn(os.kill, os.getpid(), signal.SIGUSR1)
        with pytest.raises(Expected):
            gevlite.sleep(10)
    finally:
        handler.cancel()
    assert stream.getvalue() == ""


# ---------------------------------------------------------------- threading.excepthook


@pytest.fixture(name="hooked")
def hooked_fixture(monkeypatch):
    """The arguments of each call of `threading.excepthook`."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    return seen


def test_an_error_that_nothing_caught_goes_through_the_hook_of_threading(hooked, capfd):
    g = gevlite.spawn(fails)
    g.name = "worker"
    g.join()
    (args,) = hooked
    assert isinstance(args, threading.ExceptHookArgs)
    assert args.exc_type is Expected and args.exc_value is g.exception and args.exc_traceback is not None
    assert isinstance(args.thread, threading.Thread) and args.thread.name == "worker"
    assert args.thread.ident == id(g) and args.thread.daemon and not args.thread.is_alive()
    assert args.thread not in threading.enumerate() and "worker" in repr(args.thread)
    args.thread.join()
    get_hub().call_soon(fails)
    gevlite.spawn_raw(fails)
    gevlite.idle()
    assert [args.thread for args in hooked[1:]] == [threading.main_thread()] * 2
    assert capfd.readouterr().err == ""


@pytest.mark.uninterrupted
def test_what_is_no_error_or_ends_the_program_does_not_go_through_the_hook(hooked, stream):
    gevlite.spawn(gevlite.sleep, 100).kill()
    gevlite.spawn(raises, SystemExit)
    with pytest.raises(SystemExit):
        gevlite.sleep(10)
    gevlite.spawn(raises, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        gevlite.sleep(10)
    assert not hooked and stream.getvalue().count("failed with KeyboardInterrupt") == 1


def raises(error):
    raise error


def test_a_hook_that_fails_hits_nobody_and_both_errors_are_printed(monkeypatch, capfd):
    monkeypatch.setattr(threading, "excepthook", lambda args: 1 / 0)
    gevlite.spawn(fails).join()
    said = capfd.readouterr().err
    assert said.count(" failed with Expected") == 1
    assert said.count("threading.excepthook failed with ZeroDivisionError") == 1


def test_a_stream_and_a_method_that_prints_still_get_it_beside_the_hook(monkeypatch, hooked, stream):
    gevlite.spawn(fails).join()
    assert len(hooked) == 1 and stream.getvalue().count(" failed with Expected") == 1
    printed = []
    monkeypatch.setattr(Hub, "print_exception", lambda self, *args: printed.append(args))
    gevlite.spawn(fails).join()
    assert len(hooked) == 2 and len(printed) == 1


def test_a_handle_error_that_was_replaced_decides_instead_of_the_hook(monkeypatch, hooked):
    seen = []
    monkeypatch.setattr(Hub, "handle_error", lambda self, *args: seen.append(args))
    gevlite.spawn(fails).join()
    assert len(seen) == 1 and not hooked


def test_without_a_hook_it_is_printed_once_to_stderr(run_script):
    source = """
        import threading, gevlite
        def fails(): raise KeyError("k")
        old = threading.excepthook
        if {hook}:
            threading.excepthook = lambda args: old(args)
        gevlite.spawn(fails).link_exception(lambda g: print("linked", type(g.exception).__name__))
        gevlite.wait()
    """
    for hook, line in ((False, "fails()> failed with KeyError"), (True, "Exception in thread Greenlet-1:")):
        result = run_script(source.format(hook=hook))
        assert result.stdout == "linked KeyError\n"
        assert result.stderr.count("KeyError: 'k'") == 1 and line in result.stderr


def test_in_a_patched_program_the_hook_gets_the_current_thread(run_script):
    result = run_script("""
        from gevlite import monkey; monkey.patch_all()
        import threading, gevlite
        def fails(): raise KeyError
        def hook(args): print(args.thread.name, args.thread is threading.current_thread())
        threading.excepthook = hook
        g = gevlite.Greenlet(fails); g.name = "one"; g.start(); g.join()
        thread = threading.Thread(target=fails, name="two"); thread.start(); thread.join()
    """)
    assert result.stdout.splitlines() == ["one True", "two True"] and result.stderr == ""


def test_sentry_gets_it_by_a_hook_of_one_line(run_script):
    pytest.importorskip("sentry_sdk")
    result = run_script("""
        import threading, gevlite, sentry_sdk
        seen = []
        sentry_sdk.init(
            dsn="http://key@127.0.0.1:9/1", before_send=lambda event, hint: seen.append(event),
            auto_enabling_integrations=False,  # else it imports every framework that is installed
            shutdown_timeout=0,
        )
        threading.excepthook = lambda args: sentry_sdk.capture_exception(args.exc_value)
        def fails(): raise KeyError("k")
        gevlite.spawn(fails).join()
        print([error["type"] for error in seen[0]["exception"]["values"]], len(seen))
    """)
    assert result.stdout == "['KeyError'] 1\n"


# ---------------------------------------------------------------- frames


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
