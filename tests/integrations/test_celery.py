"""`gevlite.integrations.celery`: Celery's workers on greenlets, with Redis as broker, driven by an ordinary client."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import until

celery = pytest.importorskip("celery")

from celery import exceptions, states  # noqa: E402

HERE = Path(__file__).parent
CONCURRENCY = 4


def environment(redis_server, **more):
    return {
        **os.environ,
        "CELERY_CUSTOM_WORKER_POOL": "gevlite.integrations.celery:TaskPool",
        "REDIS_PORT": str(redis_server.port),
        "PYTHONPATH": str(HERE),
        **more,
    }


@contextlib.contextmanager
def worker_process(redis_server, log, queue="celery", launcher=("-m", "gevlite.monkey", "-m"), ready=True):
    command = [
        sys.executable,
        *launcher,
        "celery",
        "-A",
        "celery_tasks",
        "worker",
        "-P",
        "custom",
        "-c",
        str(CONCURRENCY),
        "-n",
        f"{queue}@here",
        "-Q",
        queue,
        "--heartbeat-interval",
        "1",
        "--without-mingle",
        "--without-gossip",
        "-l",
        "info",
    ]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(redis_server, QUEUE=queue),
        )
    try:
        if ready:
            until(lambda: " ready." in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
        yield SimpleNamespace(process=process, log=log, name=f"{queue}@here", queue=queue)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def app(redis_server):
    address = f"redis://127.0.0.1:{redis_server.port}/"
    app = celery.Celery(broker=address + "0", backend=address + "1")
    yield app
    app.close()


@pytest.fixture(scope="module")
def worker(redis_server, app, folder):
    with worker_process(redis_server, folder / "worker.log") as worker:
        yield worker
    log = worker.log.read_text()
    assert "MonkeyPatchWarning" not in log and "failed with" not in log, log  # the latter is the hub's word for it


@pytest.fixture
def send(app, worker):
    """`send(task, *arguments, **options)`: the result of a task of celery_tasks.py."""

    def send(name, *arguments, **options):
        return app.send_task(f"celery_tasks.{name}", arguments, **options)

    return send


def inspect(app, worker):
    """It waits for this worker's answer. (By default it takes what has arrived within a second.)"""
    return app.control.inspect(destination=[worker.name], timeout=20)


def test_as_many_tasks_run_at_once_as_there_are_places(send):
    jobs = [send("together", CONCURRENCY) for _ in range(3 * CONCURRENCY)]
    assert [job.get(timeout=20) for job in jobs] == [CONCURRENCY] * len(jobs)


@pytest.mark.parametrize("task", ["in_async_to_sync", "in_asyncio_run"])
def test_tasks_run_coroutines_at_once(send, task):
    """As many as there are places, and many rounds of them."""
    for rounds in (1, 25):
        jobs = [
            (number, send(task, f"{task} {rounds} {round}", number, CONCURRENCY))
            for round in range(rounds)
            for number in range(CONCURRENCY)
        ]
        for number, job in jobs:
            assert job.get(timeout=40) == ["gevlite.asyncio", *[number] * 4]


def test_a_soft_time_limit_is_raised_in_a_task_that_runs_a_coroutine(send):
    assert send("patient_coroutine").get(timeout=20) == [True]


def test_what_a_task_raises_is_its_result(send):
    with pytest.raises(ValueError, match="as it should"):
        send("fail").get(timeout=20)


def test_a_task_may_wait_for_another_one(send):
    assert send("ask_another").get(timeout=20) <= time.time()


def test_a_task_that_blocks_the_others_is_in_the_log(send, worker, tmp_path):
    job = send("block", str(tmp_path / "told"))
    until(
        lambda: "block (" in (log := worker.log.read_text()) and re.search(r"celery_tasks\.py:\d+\) has run for", log)
    )
    (tmp_path / "told").touch()
    job.get(timeout=20)


def test_a_soft_time_limit_is_raised_in_the_task(send):
    assert send("patient").get(timeout=20) == "had to end"


def test_a_hard_time_limit_ends_the_task(send, tmp_path):
    job = send("stubborn", str(tmp_path / "told"), time_limit=1)
    with pytest.raises(exceptions.TimeLimitExceeded):
        job.get(timeout=20)
    until((tmp_path / "told").exists)
    until(lambda: (tmp_path / "told").read_text() == "GreenletExit")


def test_revoking_ends_a_running_task(send, tmp_path):
    job = send("stubborn", str(tmp_path / "told"))
    until((tmp_path / "told").exists)
    job.revoke(terminate=True)
    with pytest.raises(exceptions.TaskRevokedError):
        job.get(timeout=20)
    until(lambda: (tmp_path / "told").read_text() == "GreenletExit")


def test_a_task_that_is_revoked_while_it_waits_for_a_place_never_runs(send, app, worker, tmp_path):
    blockers = [send("sleep", 30) for _ in range(CONCURRENCY)]
    for job in blockers:
        until(lambda job=job: job.state == states.STARTED)
    late = send("stubborn", str(tmp_path / "told"))
    until(lambda: any(request["id"] == late.id for request in inspect(app, worker).reserved()[worker.name]))
    late.revoke(terminate=True)
    for job in blockers:
        job.revoke(terminate=True)
    with pytest.raises(exceptions.TaskRevokedError):
        late.get(timeout=20)
    assert send("now").get(timeout=20)  # the places are free again
    assert not (tmp_path / "told").exists()


def test_a_rate_limit_is_kept(send):
    times = sorted(job.get(timeout=20) for job in [send("rated") for _ in range(6)])
    assert times[-1] - times[0] > 0.3  # five pauses of 0.1 seconds; the first ones may be shorter


def test_a_task_with_a_countdown_waits_for_its_time(send):
    before = time.time()
    assert send("now", countdown=0.5).get(timeout=20) >= before + 0.5


def test_the_pool_grows_and_shrinks(send, app, worker):
    app.control.pool_grow(2, destination=[worker.name], reply=True, timeout=20)
    jobs = [send("together", CONCURRENCY + 2) for _ in range(CONCURRENCY + 2)]
    assert [job.get(timeout=20) for job in jobs] == [CONCURRENCY + 2] * len(jobs)
    app.control.pool_shrink(2, destination=[worker.name], reply=True, timeout=20)
    pool = inspect(app, worker).stats()[worker.name]["pool"]
    assert pool["implementation"] == "gevlite.integrations.celery:TaskPool"
    assert pool["max-concurrency"] == CONCURRENCY and pool["waiting"] == 0
    reply = app.control.pool_shrink(CONCURRENCY, destination=[worker.name], reply=True, timeout=20)
    assert "error" in reply[0][worker.name]


def test_heartbeats_go_on_while_every_place_is_taken(send, app, worker):
    jobs = [send("sleep", 30) for _ in range(CONCURRENCY)]
    for job in jobs:
        until(lambda job=job: job.state == states.STARTED)
    beats = []

    def beat(event):
        beats.append(event["active"])
        if len(beats) == 3:
            receiver.should_stop = True

    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"worker-heartbeat": beat})
        receiver.capture(limit=None, timeout=20, wakeup=False)
    assert beats == [CONCURRENCY] * 3
    for job in jobs:
        job.revoke(terminate=True)


def test_a_warm_shutdown_lets_tasks_come_to_their_end(redis_server, app, tmp_path):
    with worker_process(redis_server, tmp_path / "worker.log", queue="warm") as worker:
        running = app.send_task("celery_tasks.acknowledged_late", (1,), queue="warm")
        until(lambda: running.state == states.STARTED)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0
        assert running.get(timeout=1) == "done"
        assert "Warm shutdown" in worker.log.read_text()
        # it was acknowledged, so it will not run again
        with app.connection() as connection:
            assert connection.default_channel.client.hlen("unacked") == 0


def test_a_cold_shutdown_ends_tasks(redis_server, app, tmp_path):
    with worker_process(redis_server, tmp_path / "worker.log", queue="cold") as worker:
        app.send_task("celery_tasks.stubborn", (str(tmp_path / "told"),), queue="cold")
        until((tmp_path / "told").exists)
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(20)
        assert (tmp_path / "told").read_text() == "GreenletExit"


def test_an_unpatched_worker_is_refused(redis_server, tmp_path):
    with worker_process(redis_server, tmp_path / "worker.log", launcher=("-m",), ready=False) as worker:
        assert worker.process.wait(30) != 0
        assert "python -m gevlite.monkey -m celery" in worker.log.read_text()


EARLY = """
import sys, types
import early
from gevlite import monkey
import logging; logging.basicConfig()
import warnings; warnings.simplefilter("ignore")
monkey.patch_all(strict=False)
from gevlite.integrations.celery import TaskPool
TaskPool(2)
"""


def test_what_was_imported_too_early_is_in_the_log(tmp_path):
    (tmp_path / "early.py").write_text("from time import sleep")
    (tmp_path / "program.py").write_text(EARLY)

    def run(**environment):
        return subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, **environment},
        )

    done = run()
    assert done.returncode == 0 and "unpatched: early.sleep (time.sleep)" in done.stderr
    done = run(GEVLITE_MONKEY_STRICT="1")
    assert done.returncode == 1 and "ImproperlyConfigured: too late to patch: unpatched: early.sleep" in done.stderr
