"""Headless Chromium, spoken to over its DevTools protocol; each wait is for a condition inside the page."""

import base64
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.e2e.peers import needed
from tests.harness import PATIENCE_SECONDS
from tests.running import Running

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--ignore-certificate-errors", "--remote-debugging-port=0",
)  # fmt: skip

# Resolves with the expression's value once that is true; looks again at every change of the document.
WAIT = """new Promise((done) => {
  const look = () => { const value = (%s); if (value) done(value); return value; };
  if (!look()) new MutationObserver(look).observe(
    document, { subtree: true, childList: true, attributes: true, characterData: true });
})"""


def is_load(event: dict[str, Any], loader: str) -> bool:
    """Whether this tells that the document of a navigation, and no earlier one, is loaded."""
    told = event.get("params", {})
    return event.get("method") == "Page.lifecycleEvent" and (told["name"], told["loaderId"]) == ("load", loader)


class Tab:
    """One page."""

    def __init__(self, devtools: ClientConnection, width: int, height: int) -> None:
        self._devtools = devtools
        self._count = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method and wait for its result; events that come meanwhile are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        self._devtools.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while (got := json.loads(self._devtools.recv(PATIENCE_SECONDS))).get("id") != self._count:
            self._events.append(got)
        assert "error" not in got, got["error"]
        result: dict[str, Any] = got["result"]
        return result

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._events.clear()
        went = self.call("Page.navigate", url=url)
        assert "errorText" not in went, went
        while not any(is_load(event, went["loaderId"]) for event in self._events):
            self._events.append(json.loads(self._devtools.recv(PATIENCE_SECONDS)))

    def when(self, condition: str) -> Any:
        """Wait until an expression is true in the page; its value."""
        done = self.call("Runtime.evaluate", expression=WAIT % condition, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"]["value"]

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element."""
        box = self.when(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left"}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, clickCount=1, **where)

    def type(self, selector: str, text: str) -> None:
        """Click into a field and type."""
        self.click(selector)
        self.call("Input.insertText", text=text)

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and exceptions that nobody caught."""
        found = []
        for event in self._events:
            parameters = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(str(parameters["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                    found.append(str(parameters["args"]))
                case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                    found.append(str(parameters["entry"]))
        return found

    def screenshot(self, file: Path) -> None:
        """A PNG of what is visible."""
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def chromium(width: int = 1000, height: int = 700) -> Iterator[Tab]:
    """A tab of a browser with a profile of its own."""
    program = needed("chromium", "chromium")
    # Its helpers may still write into the profile for a moment after the end of the browser itself.
    with tempfile.TemporaryDirectory(prefix="wsrelay-chromium-", ignore_cleanup_errors=True) as profile:
        running = Running(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"], Path(profile), {"HOME": profile}
        )
        try:
            address = running.line(r"^DevTools listening on (ws://\S+)")[1]
            with connect(address, max_size=None, open_timeout=PATIENCE_SECONDS, compression=None) as devtools:
                tab = Tab(devtools, width, height)
                yield tab
                tab._session = None
                tab.call("Browser.close")
            running.ended()
        finally:
            running.dispose()
