"""A gunicorn that is stopped prints nothing but its own log: with gevlite's worker, and with its own, patched."""

import os
import re
import subprocess
import sys
import urllib.request

import pytest
from processes import until

pytest.importorskip("gunicorn")

APPLICATION = """
import atexit, os, queue, threading, time
import gevlite
from gevlite.monkey import get_original, is_module_patched
assert is_module_patched("threading")

lock = threading.RLock()
tasks = queue.Queue()

def work():
    for task in iter(tasks.get, None):
        with lock:
            task()

threading.Thread(target=work, daemon=True).start()
threading.Thread(target=threading.Event().wait, daemon=True).start()

class Last:
    def __del__(self, write=get_original("os", "write"), time=time, lock=lock):
        with lock:
            time.sleep(0.001)
        write(1, b"finalizer\\n")

threading.last = Last()

def at_exit():
    with lock:
        time.sleep(0.001)
        gevlite.spawn(gevlite.sleep, 0.001).join()
    os.write(1, b"atexit\\n")

atexit.register(at_exit)
open(f"loaded-{os.getpid()}", "w").close()

def application(environ, start_response):
    done = threading.Event()
    tasks.put(done.set)
    assert done.wait(10)
    gevlite.spawn(gevlite.sleep, 1000)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""

# name: (code that runs before gunicorn, its worker class)
WORKERS = {
    "gevlite's": ("", "gevlite.integrations.gunicorn.GevliteWorker"),
    "sync, patched": ("import gevlite.monkey; gevlite.monkey.patch_all()", "sync"),
    "gthread, patched": ("import gevlite.monkey; gevlite.monkey.patch_all()", "gthread"),
}
START = "{}\nimport gunicorn.app.wsgiapp\ngunicorn.app.wsgiapp.run()"
LOG_LINE = re.compile(r"\[.*\] \[\d+\] \[INFO\] ")


@pytest.mark.parametrize("worker", WORKERS)
def test_a_stopped_gunicorn_ends_in_silence(worker, tmp_path):
    before, kind = WORKERS[worker]
    (tmp_path / "app.py").write_text(APPLICATION)
    command = [sys.executable, "-c", START.format(before), "-k", kind, "-b", "127.0.0.1:0", "-w", "2", "app"]
    environment = {**os.environ, "HOME": str(tmp_path)}  # where newer gunicorns put a socket
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            log, booted, port = [], 0, None
            while booted < 2:
                log.append(process.stderr.readline())
                assert log[-1], log
                booted += "Booting worker" in log[-1]
                port = port or re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log[-1])
            # The second one may not be needed for a request, and SIGTERM would come before it has the application.
            until(lambda: len(list(tmp_path.glob("loaded-*"))) == 2, "the application in both workers")
            for _ in range(4):
                with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/", timeout=30) as answer:
                    assert answer.read() == b"hello"
            process.terminate()
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
    lines = "".join(log).splitlines() + err.splitlines()
    assert not [line for line in lines if not LOG_LINE.match(line)], "\n".join(lines)
    assert process.returncode == 0
    assert sorted(out.split()) == ["atexit", "atexit", "finalizer", "finalizer"]
