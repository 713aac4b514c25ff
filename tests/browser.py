"""Headless Chromium for the tests of the report page, and the screenshots in docs/.

Speaks the DevTools protocol over a pipe, so that no driver and no port is needed; Chromium is Debian's package.

    python -m tests.browser RUN    writes the screenshots of a finished run to docs/images
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import Run
from jobs.report import listings
from jobs.results import gather
from routenator.report.page import render
from tests.conftest import ROOT
from tests.processes import stop

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "NO PAGE WAS LOOKED AT: Chromium is missing (apt-get install chromium)"
WIDTHS = (400, 1400)
IMAGES = ROOT / "docs" / "images"
SHOTS = (("top", 1400, "light"), ("scores", 400, "dark"))


def chromium() -> str | None:
    """Return the browser's program, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, process: subprocess.Popen[bytes], write: int, read: int) -> None:
        self._process, self._write, self._read = process, write, read
        self._numbers, self._rest = itertools.count(1), b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """Send one command and return its result; events on the way are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            assert data, f"Chromium ended with {self._process.poll()}"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a file in a window of this size and wait until it is shown."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def run(self, script: str) -> Any:
        """Evaluate JavaScript, wait for a promise, and return its value."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key, as a keyboard does."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def picture(self, top: float = 0, height: float | None = None) -> bytes:
        """Return the page, or a part of it, as PNG."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "height": min(height or size["height"], size["height"] - top)}
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip={**clip, "scale": 1})
        return base64.b64decode(shot["data"])

    def requests(self) -> list[str]:
        """The addresses that the page has asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium, or skip the test where there is none; in CI that fails."""
    program = chromium()
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        (its_read, write), (read, its_write) = os.pipe(), os.pipe()
        options = "--headless --remote-debugging-pipe --disable-gpu --no-first-run --no-sandbox --disable-dev-shm-usage"
        # The protocol's two ends are the descriptors 3 and 4.
        line = f'exec "$0" {options} --user-data-dir="$1" about:blank 3<&{its_read} 4>&{its_write}'
        process = subprocess.Popen(
            ["bash", "-c", line, program, profile],
            pass_fds=(its_read, its_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_read)
        os.close(its_write)
        try:
            yield Browser(process, write, read)
        finally:
            stop(process, 30)
            os.close(write)
            os.close(read)


def screenshots(run: Run, folder: Path) -> list[Path]:
    """Write the pictures of docs/report.md: parts of a run's page."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with browser() as tab, tempfile.TemporaryDirectory() as place:
        page = Path(place) / "index.html"
        tab.send("Emulation.setScrollbarsHidden", hidden=True)
        page.write_text(render(gather(run), listings(run)), encoding="utf-8")
        for part, width, theme in SHOTS:
            tab.open(page, width, dark=theme == "dark")
            top = tab.run(f"document.getElementById('{part}').offsetTop - 12") if part != "top" else 0
            made.append(folder / f"report-{part}-{width}-{theme}.png")
            made[-1].write_bytes(tab.picture(top, 1000))
    return made


if __name__ == "__main__":
    if chromium() is None:
        sys.exit(MISSING)
    for file in screenshots(Run.load(sys.argv[1]), IMAGES):
        print(file.relative_to(ROOT))
