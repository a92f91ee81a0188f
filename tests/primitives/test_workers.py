"""A call in a pool of OS threads gets a result or an error, whatever happens to the thread."""

import _thread
import sys
import threading

import pytest

import gevlite
from gevlite import _workers
from gevlite.threadpool import ThreadPool, ThreadPoolExecutor


class Refused(Exception):
    pass


class Gone(BaseException):
    pass


ERRORS = [Refused, Gone, SystemExit, KeyboardInterrupt]


@pytest.fixture(params=["ThreadPool", "ThreadPoolExecutor"])
def submit(request):
    """`submit(function, *args)` to a pool of one thread; returns the result of `get()` or `result()`."""
    if request.param == "ThreadPool":
        pool = ThreadPool(1)
        yield lambda function, *args: pool.spawn(function, *args).get
        pool.kill()
    else:
        with ThreadPoolExecutor(1) as executor:
            yield lambda function, *args: executor.submit(function, *args).result


@pytest.fixture
def unraisable(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_value))
    return seen


@pytest.mark.parametrize("error", ERRORS)
def test_a_thread_that_cannot_begin_gives_its_error_to_the_caller(submit, error, monkeypatch, unraisable):
    def refuse(crew):
        raise error("cannot begin")

    with monkeypatch.context() as patch:
        patch.setattr(_workers.Crew, "begin_thread", refuse)
        patch.setattr("gevlite._executor._ExecutorCrew.begin_thread", refuse)
        results = [submit(abs, -1), submit(abs, -2)]
        for get in results:
            with gevlite.Timeout(10), pytest.raises(error):
                get()
        assert unraisable == []
    assert submit(abs, -3)() == 3


@pytest.mark.parametrize("error", ERRORS)
def test_a_profiling_function_that_cannot_be_set_or_fails_gives_its_error_to_the_caller(submit, error, unraisable):
    def trace(frame, event, arg):
        if threading.get_ident() != main:
            raise error("no tracing here")

    main = threading.get_ident()
    threading.setprofile(trace)
    try:
        get = submit(abs, -1)
        with gevlite.Timeout(10), pytest.raises(error):
            get()
    finally:
        threading.setprofile(None)
    assert submit(abs, -3)() == 3


@pytest.mark.parametrize("error", ERRORS)
def test_what_ends_a_thread_between_two_calls_loses_none(submit, error, monkeypatch, unraisable):
    do = _workers.Crew._do
    failures = [error("thrown in")]

    def thrown_in(crew, task, forks):
        if failures:
            raise failures.pop()
        do(crew, task, forks)

    monkeypatch.setattr(_workers.Crew, "_do", thrown_in)
    get, other = submit(abs, -1), submit(abs, -2)
    for wait in (get, other):
        try:
            with gevlite.Timeout(10):
                assert wait() == 2
        except error:
            pass
    assert submit(abs, -3)() == 3


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_while_the_caller_is_told_is_told_too(submit, error, monkeypatch, unraisable):
    made = _workers.Crew._made
    failures = [error("thrown in")]

    def thrown_in(crew, task):
        made(crew, task)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(_workers.Crew, "_made", thrown_in)
    with gevlite.Timeout(10), pytest.raises(error):
        submit(abs, -1)()
    assert submit(abs, -3)() == 3


@pytest.mark.parametrize("error", [*ERRORS, gevlite.GreenletExit])
def test_an_error_of_the_call_is_the_callers_and_the_thread_goes_on(submit, error):
    def fail():
        raise error("of the call")

    with gevlite.Timeout(10), pytest.raises(error):
        submit(fail)()
    with gevlite.Timeout(10), pytest.raises(SystemExit):
        submit(_thread.exit)()
    assert submit(abs, -3)() == 3


def test_if_no_thread_can_be_started_the_call_says_so(submit, monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_workers, "start_new_thread", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            submit(abs, -1)
    assert submit(abs, -3)() == 3


def test_at_the_end_of_the_interpreter_the_caller_makes_the_call(submit, monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(_workers, "start_new_thread", refuse)
    assert submit(threading.get_ident)() == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        submit(lambda: 1 / 0)()
    # A call may use the pool that it is made in.
    assert submit(lambda: submit(abs, -1)())() == 1
