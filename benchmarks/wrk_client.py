"""The load of the WSGI cases: wrk, a C program (https://github.com/wg/wrk).

    python wrk_client.py ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID

BYTES: how much each request posts; 0 for GET. Prints the same JSON as the other loads. The server's CPU time is that of
the process and all its descendants.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

import psutil

# For wrk's Lua: what to send, and the figures at the end. Times are in microseconds.
SCRIPT = """
local size = %d
if size > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("x", size)
end
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("done=%%d us=%%d p50=%%d p99=%%d p999=%%d max=%%d errors=%%d",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    latency.max, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def server_times(pid):
    """CPU seconds, and nanoseconds on the cores and on their run queues, of a process and its descendants."""
    process = psutil.Process(pid)
    cpu = ran = waited = 0
    for one in [process, *process.children(recursive=True)]:
        cpu += sum(one.cpu_times()[:2])
        for task in os.listdir(f"/proc/{one.pid}/task"):
            with open(f"/proc/{one.pid}/task/{task}/schedstat") as file:
                on_core, on_queue, _ = map(int, file.read().split())
            ran += on_core
            waited += on_queue
    return cpu, ran, waited


def main(address, port, connections, size, warmup, seconds, pid):
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % int(size))
        script.flush()
        url = f"http://{address}:{port}/"
        # wrk takes whole seconds only.
        command = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", script.name, url]
        run = {"capture_output": True, "text": True, "check": True}
        subprocess.run([*command, "-d1"], **run)
        before = server_times(int(pid))
        own = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        output = subprocess.run([*command, f"-d{max(round(float(seconds)), 1)}"], **run).stdout
        after = server_times(int(pid))
        own = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - own
    found = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", output)}
    if found["errors"]:
        raise SystemExit(f"{found['errors']} of {found['done']} requests failed")
    cpu, ran, waited = (b - a for a, b in zip(before, after, strict=True))
    figures = {
        "done": found["done"],
        "seconds": found["us"] / 1e6,
        "client_cpu": own,
        # To the nanosecond, where the kernel counts it; else in clock ticks.
        "server_cpu": ran / 1e9 or cpu,
        "server_waited": waited / ((ran + waited) or 1),
        **{name: found[name] / 1e6 for name in ("p50", "p99", "p999", "max")},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
