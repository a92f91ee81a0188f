"""gunicorn: a worker that serves with `gevlite.pywsgi`.

    gunicorn -k gevlite.integrations.gunicorn.GevliteWorker app:application

A worker process is patched before it loads the application, and has one greenlet for each connection. It obeys
gunicorn's settings, except those for features that it lacks: threads, HTTP/2, the uwsgi protocol.

`GevliteWorker` controls the process (signals, heartbeat, stop). `_Application` wraps each call of the application. The
handlers do what needs the connection; a costlier handler is used only if settings need it.
"""

from types import FrameType
from typing import Any

from gunicorn.workers.base import Worker

from gevlite.pywsgi import Limits

__all__ = ["GevliteWorker"]

class GevliteWorker(Worker):
    """gunicorn's worker; see the module.

    Stop and reload (TERM, HUP): no new connections; requests get `graceful_timeout` seconds, and connections between
    two requests a moment for one more. QUIT and INT: at once. The master kills a worker in which no switch between
    greenlets happens for `timeout` seconds. After one second of that, a line in the error log says where: see
    `gevlite.config.watch`.
    """

    servers: list[Any]
    limits: Limits
    strict: bool
    status_path: str | None
    def patch(self) -> None:
        """Patch the process. With `preload_app` the application already exists: the log names what still blocks.

        With `gevlite.config.monkey_strict`, the worker then does not start: MonkeyPatchError.
        """
    def watch(self) -> None:
        """Turn on the watch. Its lines go to the error log, unless the application has configured another one."""
    def init_process(self) -> None:
        """Called in the new process. Blocks until the worker ends."""
    def check(self) -> None:
        """Raise RuntimeError for a setting that is not supported and would be unsafe or useless to ignore.

        Raise ValueError for an invalid environment variable.
        """
    def init_signals(self) -> None: ...
    def run(self) -> None:
        """Serve until `alive` is False; then stop."""
    def count(self) -> None:
        """A request begins."""
    def handle_exit(self, sig: int, frame: FrameType | None) -> None: ...
    def handle_quit(self, sig: int, frame: FrameType | None) -> None: ...
    def handle_usr1(self, sig: int, frame: FrameType | None) -> None: ...
    def handle_abort(self, sig: int, frame: FrameType | None) -> None: ...
