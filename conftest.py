"""Makes pytest-timeout's time limit end the test also when another greenlet, or the hub, runs at that moment, and the
report show what each greenlet did.

Its own signal handler raises in whatever runs: in a greenlet of the test that would kill the greenlet and leave the
test waiting. Here the failure goes to the main greenlet, and the alarm repeats in case the test swallows it.
"""

import signal

import pytest

AGAIN_SECONDS = 2

# A shell without job control starts what is in the background with SIGINT and SIGQUIT ignored (POSIX, 2.11), nohup with
# SIGHUP, and every child of a test would inherit that.
DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
for signum, handler in DEFAULTS.items():
    if signal.getsignal(signum) == signal.SIG_IGN:
        signal.signal(signum, handler)


def pytest_timeout_set_timer(item, settings):
    if settings.method != "signal" or not settings.timeout:
        return None
    struck = []

    def on_alarm(signum, frame):
        from greenlet import getcurrent

        failure = pytest.fail.Exception(f"Timeout (>{settings.timeout}s)")
        if not struck:
            struck.append(failure)
            try:
                from gevlite.testing._pytest import what_they_do

                item.add_report_section("call", "greenlets", what_they_do(1))
            except Exception as exc:  # this may need the very thing that hangs
                item.add_report_section("call", "greenlets", f"not known: {exc!r}")
        main = getcurrent()
        while main.parent is not None:
            main = main.parent
        if main is getcurrent():
            raise failure
        from gevlite import get_hub

        get_hub().throw(main, failure)

    def cancel():
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_SECONDS)
    item.cancel_timeout = cancel  # pytest-timeout calls it at the end of the test
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    """The alarm must not strike again while pytest writes the report: that would end the whole run."""
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        return (yield)
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, interval)
