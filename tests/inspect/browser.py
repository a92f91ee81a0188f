"""A real browser for tests of pages: chromium without a window, by chromedriver's own protocol (W3C WebDriver)."""

import base64
import http.client
import json
import os
import re
import shutil
import subprocess

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = None if CHROMIUM and DRIVER else "needs chromium and chromedriver (Debian: chromium, chromium-driver)"

ENTER, ESCAPE, HOME = "\ue007", "\ue00c", "\ue011"


class Browser:
    """A window of 1200 x 700."""

    def __init__(self, folder):
        self.driver = subprocess.Popen(
            [DRIVER, "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "HOME": str(folder)},
        )
        self.session = None
        for line in self.driver.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                self.connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=100)
                break
        else:
            raise OSError("chromedriver has not started")
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        arguments += ["--window-size=1200,700", f"--user-data-dir={folder}/profile", "--force-prefers-reduced-motion"]
        options = {"binary": CHROMIUM, "args": arguments}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _ask(self, method, path, body=None):
        self.connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = self.connection.getresponse()
        value = json.loads(answer.read())["value"]
        assert answer.status == 200, value
        return value

    def _post(self, path, body):
        return self._ask("POST", f"/session/{self.session}/{path}", body)

    def open(self, path):
        self._post("url", {"url": path.as_uri()})

    def run(self, script, *arguments):
        """Run JavaScript; returns the value of its `return`."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def _act(self, kind, actions, **parameters):
        self._post("actions", {"actions": [{"type": kind, "id": kind, **parameters, "actions": actions}]})

    def _move(self, x, y):
        return {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}

    def click(self, x, y):
        down, up = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
        self._act("pointer", [self._move(x, y), down, up], parameters={"pointerType": "mouse"})

    def hover(self, x, y):
        self._act("pointer", [self._move(x, y)], parameters={"pointerType": "mouse"})

    def drag(self, start, end):
        down, up = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
        between = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
        moves = [self._move(*start), down, self._move(*between), self._move(*end), up]
        self._act("pointer", moves, parameters={"pointerType": "mouse"})

    def wheel(self, x, y, down):
        scroll = {"type": "scroll", "x": round(x), "y": round(y), "deltaX": 0, "deltaY": down, "duration": 0}
        self._act("wheel", [scroll])

    def press(self, *keys):
        self._act("key", [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")])

    def errors(self):
        """The errors in the page."""
        return [entry["message"] for entry in self._post("se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self._ask("GET", f"/session/{self.session}/screenshot")))

    def close(self):
        try:
            if self.session is not None:
                self._ask("DELETE", f"/session/{self.session}")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.driver.stdout.close()
