"""One process of a conformance run: some tests of one of CPython's own test modules, with or without patching.

`runner.py` starts it, and passes its orders in environment variables, because `multiprocessing` imports this file again
in the processes that it spawns, and those must be patched too. The progress of each test is appended to a file, line by
line, so that the runner knows where this process was if it hangs or crashes.
"""

import os

if os.environ["GEVLITE_CONFORMANCE_PATCH"] != "1":
    pass
elif os.environ.get("GEVLITE_CONFORMANCE_LOOP") == "1":
    import with_loop

    with_loop.install()
else:
    from gevlite import monkey

    monkey.patch_all()

import faulthandler
import json
import signal
import time
import traceback
import unittest

# Resources for which a machine needs no network and no screen, and only reasonable time.
RESOURCES = ("cpu", "curses", "subprocess", "walltime")
# Ask for the network and stay on 127.0.0.1.
LOCAL_NETWORK = ("test.test_socketserver", "test.test_timeout")
# Except for these, which connect to hosts elsewhere; they are not run.
REMOTE = ("test.test_timeout.TCPTimeoutTestCase.testConnectTimeout",)


class Recorder(unittest.TestResult):
    """Appends a line for each event."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.failed = False
        self.started = 0.0

    def write(self, **event):
        # By descriptor and afresh each time: tests close descriptors, replace sys.stdout and fork.
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, (json.dumps(event) + "\n").encode())
        finally:
            os.close(fd)

    def stopTest(self, test):
        super().stopTest(test)
        self.started = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.failed = False
        self.started = time.monotonic()
        self.write(event="start", id=test.id())

    def end(self, test, outcome, text=""):
        if outcome in ("failed", "error") or not self.failed:
            seconds = round(time.monotonic() - self.started, 2) if self.started else 0
            self.write(event="end", id=test.id(), outcome=outcome, text=text, seconds=seconds)
        self.failed = self.failed or outcome in ("failed", "error")

    def addSuccess(self, test):
        self.end(test, "passed")

    def addSkip(self, test, reason):
        self.end(test, "skipped", str(reason))

    def addExpectedFailure(self, test, err):
        self.end(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        self.end(test, "failed", "unexpected success")

    def addFailure(self, test, err):
        self.end(test, "failed", "".join(traceback.format_exception(*err)))

    def addError(self, test, err):
        # For a fixture of a class or a module, `test` has only a name, which shows that.
        self.end(test, "error", "".join(traceback.format_exception(*err)))

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.end(test, "failed", "".join(traceback.format_exception(*err)))


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def main():
    faulthandler.enable()
    # A shell without job control starts what is in the background with SIGINT and SIGQUIT ignored, nohup with SIGHUP
    # ignored, and many tests need these.
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(signum) == signal.SIG_IGN:
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    from test import support
    from test.support import os_helper

    name, path = os.environ["GEVLITE_CONFORMANCE_MODULE"], os.environ["GEVLITE_CONFORMANCE_RESULTS"]
    support.use_resources = [*RESOURCES, *(["network"] if name in LOCAL_NETWORK else [])]
    with open(os.environ["GEVLITE_CONFORMANCE_CHOICE"], encoding="utf-8") as file:
        choice = json.load(file)
    recorder = Recorder(path)
    with os_helper.temp_cwd():
        try:
            tests = list(flatten(unittest.defaultTestLoader.loadTestsFromName(name)))
        except unittest.SkipTest as exc:
            recorder.write(event="module", outcome="skipped", text=str(exc))
            return
        left_out = {*REMOTE, *choice["without"]}
        tests = [test for test in tests if test.id() not in left_out]
        if choice["only"] is not None:
            wanted = set(choice["only"])
            tests = [test for test in tests if test.id() in wanted]
        recorder.write(event="tests", ids=[test.id() for test in tests])
        unittest.TestSuite(tests).run(recorder)
    recorder.write(event="finished")


if __name__ == "__main__":
    main()
