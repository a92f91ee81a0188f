"""The task: fetch one URL. Every worker imports this module, on each host."""

import os
import time
import urllib.error
import urllib.request
from typing import TypedDict

import celery

BROKER = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")

app = celery.Celery("tasks", broker=BROKER, backend=BROKER)
app.conf.update(
    # Prefetch little, so that a free place anywhere takes the next URL.
    worker_prefetch_multiplier=1,
    # If a worker dies, its unfinished tasks run again.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    result_expires=3600,
    broker_connection_retry_on_startup=True,
)


class Fetched(TypedDict):
    url: str
    status: int | None  # None if there was no answer
    size: int
    seconds: float
    error: str | None
    worker: str  # the process that fetched it


def fetch(url: str) -> Fetched:
    began = time.monotonic()
    status, size, error = None, 0, None
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            status, size = response.status, len(response.read())
    except urllib.error.HTTPError as exc:
        status = exc.code
    except (OSError, ValueError) as exc:
        error = str(exc)
    return Fetched(
        url=url,
        status=status,
        size=size,
        seconds=time.monotonic() - began,
        error=error,
        worker=f"{os.uname().nodename}:{os.getpid()}",
    )


# A URL that takes longer than this fails, whatever the reason.
fetch_task = app.task(name="fetch", soft_time_limit=50, time_limit=60)(fetch)
