"""A page in headless Chromium, driven through its debugging pipe; needs no package."""

import itertools
import json
import os
import select
import shutil
import subprocess
import time

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_DEADLINE_SECONDS = 60


class Page:
    """One page. Collects what its console says, its errors, and the addresses it asks for.

    Attributes:
        problems: console errors and warnings, and uncaught exceptions.
        requests: addresses that were asked for, those of data left out.
    """

    def __init__(self, profile_dir):
        to_browser, self._commands = os.pipe()
        self._answers, from_browser = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        options += ["--window-size=1100,900", f"--user-data-dir={profile_dir}", "--no-first-run"]
        # The browser reads commands from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", EXECUTABLE, *options],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._ids = b"", itertools.count(1)
        self._session, self._loaded = None, False
        self.problems, self.requests = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, address):
        """Loads a page and waits for it."""
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._take(self._receive())

    def evaluate(self, expression):
        """The value of a javascript expression that gives json."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=_DEADLINE_SECONDS):
        """Waits until a javascript expression is true and returns its value."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} does not become true")
            time.sleep(0.05)
        return value

    def choose_files(self, selector, *paths):
        """Chooses files in the file input of a CSS selector."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def set_width(self, width, height=900):
        """Makes the window as wide and high as this, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def save_downloads_to(self, folder):
        """Downloads go to a folder from now on, without a question."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def click(self, expression):
        """Clicks with the mouse on the element that the expression gives, when it stands still."""
        centre = (
            f"(() => {{ const e = {expression}; e.scrollIntoView({{block: 'center'}});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        before, (x, y) = None, self.evaluate(centre)
        while before != (x, y):
            time.sleep(0.2)
            before, (x, y) = (x, y), self.evaluate(centre)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, code):
        """Presses a key, such as ("Tab", 9), on the element that has the focus."""
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        parameters = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **parameters, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **parameters)

    def call(self, method, **parameters):
        """Sends a command and returns its result."""
        message = {"id": next(self._ids), "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, answer
                return answer["result"]
            self._take(answer)

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _take(self, event):
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.problems.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            if not address.startswith("data:"):
                self.requests.append(address)

    def _receive(self):
        end = time.monotonic() + _DEADLINE_SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise ConnectionError("the browser has ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
