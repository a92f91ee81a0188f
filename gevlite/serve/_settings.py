"""The settings of `Server` and `python -m gevlite serve`, their defaults and checks."""

import dataclasses
import grp
import os
import pwd
import re

from gevlite import _slices
from gevlite.pywsgi import AccessLog, Limits, Proxies

__all__ = ["Settings", "cores"]

_DEFAULT_BIND = ("127.0.0.1:8000",)
_MOST_WORKERS = 8

_SPEC = re.compile(r"(?P<module>\w+(?:\.\w+)*)(?::(?P<name>\w+(?:\.\w+)*)(?P<call>\(\))?)?", re.ASCII)


def cores():
    """The number of cores that this process may use: its CPU affinity, or less if its control group has less time."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no control group, or "max"
    return count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """See docs/deploying.md. Raises TypeError or ValueError for an invalid setting."""

    app: object
    bind: tuple[str, ...] = ()
    socket_mode: int | None = None
    socket_owner: str | None = None
    backlog: int = 2048
    workers: int | None = None
    reuse_port: bool = False
    connections: int = 10_000
    concurrency: int | None = None
    timeout: float = 30
    graceful_timeout: float = 30
    max_requests: int = 0
    max_requests_jitter: int | None = None
    max_memory: int | None = None
    time_slice: float | None = None
    reload: bool = False
    access_log: str | None = "-"
    log_format: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    ca_certs: str | None = None
    client_certs: str = "none"
    trusted_proxies: tuple[str, ...] = ()
    forwarded_headers: tuple[str, ...] = ()
    proxy_protocol: bool = False
    strict: bool = False
    status_path: str | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self):
        if not isinstance(self.limits, Limits):
            raise TypeError(f"limits must be a Limits, not {self.limits!r}")
        if isinstance(self.app, str):
            self.app_parts()
        elif not callable(self.app):
            raise TypeError(f"app must be 'package.module:name' or a WSGI application, not {self.app!r}")
        bind = (self.bind,) if isinstance(self.bind, (str, int)) else tuple(self.bind)
        self._set("bind", tuple(str(address) for address in bind))
        self._set("workers", self.workers if self.workers is not None else 1 if self.reload else default_workers())
        self._whole("workers", 1)
        self._whole("backlog", 1)
        self._whole("connections", 1)
        if self.concurrency is not None:
            self._whole("concurrency", 1)
        elif self.limits.max_queued is not None:
            raise ValueError("max_queued needs concurrency, the number of requests served at a time")
        self._whole("max_requests", 0)
        if self.max_requests_jitter is None:
            self._set("max_requests_jitter", self.max_requests // 10)
        self._whole("max_requests_jitter", 0)
        if self.max_memory is not None:
            self._whole("max_memory", 1)
        _slices.for_new_hub(self.time_slice)  # also reports a wrong GEVLITE_TIME_SLICE
        for name in ("timeout", "graceful_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise ValueError(f"{name} must be a number of seconds, not {value!r}")
        if self.socket_mode is not None and not 0 <= self.socket_mode <= 0o777:
            raise ValueError(f"socket_mode must be like 0o660, not {self.socket_mode!r}")
        self.owner_ids()
        if self.client_certs not in ("none", "optional", "required"):
            raise ValueError(f"client_certs must be none, optional or required, not {self.client_certs!r}")
        if self.certfile is None:
            for name in ("keyfile", "ca_certs"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs certfile, the server's own certificate")
        if (self.client_certs == "none") != (self.ca_certs is None):
            raise ValueError("client_certs (optional or required) and ca_certs go together")
        if self.access_log is not None and not isinstance(self.access_log, str):
            raise TypeError(f"access_log must be a path, '-' for standard output, or None, not {self.access_log!r}")
        if self.log_format is not None:
            AccessLog(_Nowhere(), self.log_format)
        if self.status_path is not None:
            from gevlite._status import check_path

            check_path("status_path", self.status_path)
        self.proxies()

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    def _whole(self, name, least):
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number, at least {least}, not {value!r}")

    def app_parts(self):
        """`(module, name, whether to call it)` of `app`."""
        found = _SPEC.fullmatch(self.app)
        if found is None:
            raise ValueError(
                f"app must be like package.module:name, or package.module:factory() without arguments, not {self.app!r}"
            )
        return found["module"], found["name"] or "application", bool(found["call"])

    def proxies(self):
        """The `Proxies`, None if none are trusted."""
        if not self.trusted_proxies:
            if self.forwarded_headers or self.proxy_protocol:
                raise ValueError(
                    "forwarded_headers and proxy_protocol need trusted_proxies, the proxies that may send them"
                )
            return None
        return Proxies(self.trusted_proxies, self.forwarded_headers, self.proxy_protocol)

    def owner_ids(self):
        """`(uid, gid)` of `socket_owner`, -1 for a missing part."""
        if self.socket_owner is None:
            return -1, -1
        user, _, group = self.socket_owner.partition(":")
        try:
            uid = -1 if not user else int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
            gid = -1 if not group else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise ValueError(f"socket_owner: there is no such user or group: {self.socket_owner!r}") from None
        return uid, gid


class _Nowhere:
    def write(self, text):
        pass


def default_workers():
    return min(cores(), _MOST_WORKERS)
