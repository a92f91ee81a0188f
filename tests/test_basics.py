"""The basis of everything else: switching by hand, waiting at the same time, and timers beside a busy loop."""

import time

import greenlet
import pytest

import gevlite


def test_two_greenlets_that_switch_by_hand():
    """The example of the greenlet package, with the hub at work beside it."""
    gevlite.sleep(0.001)
    ticker = gevlite.spawn(gevlite.sleep, 1000)
    gevlite.sleep(0)
    seen = []

    def test1():
        seen.append(1)
        gr2.switch()
        seen.append(2)

    def test2():
        seen.append(3)
        gr1.switch()
        raise AssertionError("nobody switches back")

    gr1, gr2 = greenlet.greenlet(test1), greenlet.greenlet(test2)
    gr1.switch()
    assert seen == [1, 3, 2]
    assert gr1.dead and not gr2.dead and not ticker.dead
    ticker.kill()
    assert ticker.dead


def test_two_greenlets_that_switch_by_hand_may_also_sleep():
    seen = []

    def test1():
        seen.append(1)
        gevlite.sleep(0.002)
        gr2.switch()
        gevlite.sleep(0.001)
        seen.append(2)

    def test2():
        gevlite.sleep(0.001)
        seen.append(3)
        gr1.switch()

    def both():
        nonlocal gr1, gr2
        gr1, gr2 = greenlet.greenlet(test1), greenlet.greenlet(test2)
        gr1.switch()
        return list(seen)

    gr1 = gr2 = None
    assert gevlite.spawn(both).get(timeout=20) == [1, 3, 2]


@pytest.mark.uninterrupted
def test_two_greenlets_that_take_turns_by_sleeping():
    seen = []

    @gevlite.uninterrupted
    def test1():
        seen.append(1)
        gevlite.sleep(0)
        seen.append(2)

    @gevlite.uninterrupted
    def test2():
        seen.append(3)
        gevlite.sleep(0)

    gevlite.joinall([gevlite.spawn(test1), gevlite.spawn(test2)], raise_error=True)
    assert seen == [1, 3, 2]


@pytest.mark.timeout(120)
def test_two_delayed_fetches_take_about_as_long_as_the_longer(run_script):
    """2 s and 1 s at once. The server's count is the proof; a user would look at the clock, which must agree."""
    out = run_script(
        """
        from gevlite import monkey
        monkey.patch_all()
        import threading
        import time
        import urllib.request
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        import gevlite

        inside = most = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                global inside, most
                inside += 1
                with gevlite.uninterrupted():   # otherwise a smaller number could be stored later
                    most = max(most, inside)
                time.sleep(float(self.path.removeprefix("/delay/")))
                inside -= 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"slept")

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def fetch(seconds):
            with opener.open(f"http://127.0.0.1:{server.server_address[1]}/delay/{seconds}") as response:
                return response.read()

        fetch(0)
        most = 0
        began = time.monotonic()
        jobs = [gevlite.spawn(fetch, seconds) for seconds in (2, 1)]
        gevlite.joinall(jobs, raise_error=True)
        elapsed = time.monotonic() - began
        assert [job.value for job in jobs] == [b"slept"] * 2
        print(most, elapsed)
        server.shutdown()
        server.server_close()
    """,
        timeout=60,
    ).stdout.split()
    assert int(out[0]) == 2
    assert 1.99 < float(out[1]) < 2.9


@pytest.mark.uninterrupted  # it gives way with `sleep(0)` only
def test_a_timer_runs_on_time_beside_a_loop_that_sleeps_zero():
    """A busy loop with `sleep(0)` every 1,000 steps does not starve a timer, and the timer does not stop the loop."""
    steps, late, steps_at_tick = 0, [], []

    def tick():
        for _ in range(20):
            due = time.monotonic() + 0.01
            gevlite.sleep(0.01)
            late.append(time.monotonic() - due)
            steps_at_tick.append(steps)

    ticker = gevlite.spawn(tick)
    while not ticker.dead:
        for _ in range(1000):
            steps += 1
        gevlite.sleep(0)
    assert len(late) == 20
    assert min(late) > -0.001  # never early
    assert max(late) < 1
    # The loop has gone on between any two ticks and after none of them.
    assert steps_at_tick[0] > 0 and steps_at_tick == sorted(set(steps_at_tick))
