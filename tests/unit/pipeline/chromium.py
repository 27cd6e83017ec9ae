"""A headless Chromium, driven through its DevTools pipe: what a page looks like to it, and of what it complains."""

import json
import os
import shutil
import subprocess

PROGRAM = shutil.which("chromium")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
# Elements that reach beyond the window although they do not lie in a box that scrolls, and the page's own width.
_OVERFLOW = """(() => {
  const width = document.documentElement.clientWidth;
  const isScrolled = (e) => e && (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) || isScrolled(e.parentElement));
  const isWide = (e) => e.getBoundingClientRect().right > width + 1 && !isScrolled(e);
  const wide = [...document.body.querySelectorAll('*')].filter(isWide);
  return [document.documentElement.scrollWidth - width, wide.map((e) => e.outerHTML.slice(0, 80))];
})()"""


class Chromium:
    """One browser with one page.

    Args:
        folder: empty, for its profile.
    """

    def __init__(self, folder):
        (commands_out, self._commands), (self._answers, answers_in) = os.pipe(), os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4.
        script = f'exec "$0" "$@" 3<&{commands_out} 4>&{answers_in}'
        command = ["bash", "-c", script, PROGRAM, *_FLAGS, f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            command, pass_fds=(commands_out, answers_in), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands_out)
        os.close(answers_in)
        self._buffer, self._number, self._session, self.events = b"", 0, None, []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self._ask(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._session = None
        self._ask("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._commands)
        os.close(self._answers)

    def open(self, path, width, height, is_dark=False):
        """Opens a file in a window of a size, and waits until it is loaded."""
        self.events.clear()
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=f"file://{path}")
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def value(self, expression):
        """What an expression is in the page."""
        return self._ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def overflow(self):
        """By how many pixels the page is wider than its window, and the elements that make it so."""
        return self.value(_OVERFLOW)

    @property
    def complaints(self):
        """Entries of the log and exceptions since the page was opened."""
        return [each for each in self.events if each["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]

    @property
    def requests(self):
        """Addresses that the page asked for, itself first."""
        sent = [each for each in self.events if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in sent]

    def _ask(self, method, **params):
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._commands, json.dumps(asked).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                return message["result"]
            self.events.append(message)

    def _message(self):
        while b"\0" not in self._buffer:
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise EOFError("the browser has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
