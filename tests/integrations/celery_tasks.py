"""The tasks of the Celery workers in test_celery.py. The broker is the Redis server at the port REDIS_PORT."""

import asyncio
import os
import threading
import time

import celery
from asgiref.sync import async_to_sync, sync_to_async
from celery.exceptions import SoftTimeLimitExceeded

import gevlite

redis = f"redis://127.0.0.1:{os.environ['REDIS_PORT']}/"
app = celery.Celery("celery_tasks", broker=redis + "0", backend=redis + "1")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_send_task_events=True,
    task_track_started=True,
    task_default_queue=os.environ.get("QUEUE", "celery"),
)

barriers = {size: threading.Barrier(size) for size in (4, 6)}


@app.task
def together(size):
    """None of them ends before `size` of them run at the same time."""
    barriers[size].wait(20)
    return size


@app.task
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@app.task(soft_time_limit=1)  # by then a busy machine has begun the task, too
def patient():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "had to end"


@app.task
def stubborn(path):
    """Reports that it runs, and how it was ended."""
    try:
        with open(path, "w") as file:
            file.write("runs")
        time.sleep(30)
    except BaseException as exc:
        with open(path, "w") as file:
            file.write(type(exc).__name__)
        raise


@app.task
def block(path):
    with gevlite.uninterrupted():  # otherwise others run, with time slices
        while not os.path.exists(path):
            pass


@app.task(rate_limit="10/s")
def rated():
    return time.time()


@app.task
def now():
    return time.time()


@app.task
def fail():
    raise ValueError("as it should")


@app.task
def ask_another():
    return now.delay().get(timeout=20)


@app.task(acks_late=True)
def acknowledged_late(seconds):
    time.sleep(seconds)
    return "done"


# ---------------------------------------------------------------- coroutines

# {round: the numbers of the tasks of this round that have begun}
begun = {}


async def coroutine(round, number, size):
    """None of them ends before `size` of its round run at the same time."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    begun.setdefault(round, set()).add(number)
    async with asyncio.timeout(30):
        while len(begun[round]) < size:
            await asyncio.sleep(0.002)
    parts = await asyncio.gather(
        asyncio.sleep(0.001, number),
        asyncio.to_thread(int, number),
        sync_to_async(blocks, thread_sensitive=False)(number),
        sync_to_async(blocks)(number),
    )
    time.sleep(0.001)
    assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
    return [type(loop).__module__, *parts]


def blocks(number):
    time.sleep(0.001)
    assert asyncio._get_running_loop() is None
    return number


@app.task
def in_async_to_sync(*arguments):
    return async_to_sync(coroutine)(*arguments)


@app.task
def in_asyncio_run(*arguments):
    return asyncio.run(coroutine(*arguments))


@app.task(soft_time_limit=2)
def patient_coroutine():
    """Its time limit is raised where the coroutine waits, so that it can clean up."""
    ended = []

    async def main():
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.001)
            ended.append(asyncio.current_task().cancelling() > 0)

    try:
        asyncio.run(main())
    except SoftTimeLimitExceeded:
        return ended
