"""Support for systemd: the sockets that it passes, and the messages that it gets (sd_listen_fds(3), sd_notify(3))."""

import os
import socket
import time

__all__ = ["Notifier", "passed_descriptors"]

_FIRST = 3


def passed_descriptors():
    """The descriptors that systemd has opened for this process. They are removed from the environment, so that no child
    uses them."""
    pid, count = os.environ.get("LISTEN_PID", ""), os.environ.get("LISTEN_FDS", "")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    found = list(range(_FIRST, _FIRST + int(count)))
    for fd in found:
        os.set_inheritable(fd, False)
    return found


class Notifier:
    """Sends messages to systemd, if it asks for them. `watchdog`: how often, in seconds, it expects a sign of life."""

    def __init__(self):
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        self.watchdog = None
        interval, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        if self._address and interval.isdigit() and int(interval) and pid in ("", str(os.getpid())):
            self.watchdog = int(interval) / 1e6 / 2

    def say(self, **state):
        """Send `state`. Errors are ignored: then nothing is listening."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in state.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), address)
        except OSError:
            pass

    def ready(self, status):
        self.say(READY=1, STATUS=status, MAINPID=os.getpid())

    def reloading(self):
        self.say(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
