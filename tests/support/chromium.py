"""A headless Chromium, driven over its DevTools protocol; it can reach 127.0.0.1 alone.

The protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websocket

SECONDS = 60.0
_PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
MISSING = "" if _PROGRAM else "there is no chromium (Debian: chromium)"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # Whatever a page or the browser itself asks for: no name is known, no proxy is asked.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
)


class Chromium:
    """One browser with an empty profile; `tab` opens pages. Ends with the `with`."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        folder = Path(self._profile.name)
        self._process = subprocess.Popen(
            [str(_PROGRAM), *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port, path = self._wait_for_port(folder / "DevToolsActivePort")
            self._socket = websocket.create_connection(
                f"ws://127.0.0.1:{port}{path}", timeout=SECONDS, suppress_origin=True
            )
        except BaseException:
            self._end()
            raise
        self._last_id = 0
        self._events: dict[str, list[dict[str, Any]]] = {}

    def tab(self, **wishes: Any) -> Tab:
        """A new tab; for the keywords see Tab."""
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        return Tab(self, target, attached["sessionId"], **wishes)

    def ask(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Calls a method of the protocol and returns its result; fails if it does."""
        self._last_id += 1
        call = {"id": self._last_id, "method": method, "params": parameters}
        self._socket.send(json.dumps(call | ({"sessionId": session} if session else {})))
        while True:
            told = self._receive()
            if told.get("id") == self._last_id:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result

    def events(self, session: str) -> list[dict[str, Any]]:
        """What a session told without being asked, so far."""
        return self._events.get(session, [])

    def _receive(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._socket.recv())
        if "method" in told:
            self._events.setdefault(told.get("sessionId", ""), []).append(told)
        return told

    def _wait_for_port(self, file: Path) -> tuple[str, str]:
        deadline = time.monotonic() + SECONDS
        while True:
            lines = file.read_text().split() if file.exists() else []
            if len(lines) == 2:
                return lines[0], lines[1]
            assert self._process.poll() is None, "chromium ended at once"
            assert time.monotonic() < deadline, "chromium does not listen"
            time.sleep(0.05)

    def close(self) -> None:
        """Ends it."""
        self._socket.close()
        self._end()

    def _end(self) -> None:
        # It has many children; they are all in the session that was made for it.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SECONDS)
        self._profile.cleanup()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tab:
    """One page, `width` CSS pixels wide; `script` says whether scripts run, `dark` the scheme."""

    def __init__(
        self,
        browser: Chromium,
        target: str,
        session: str,
        *,
        width: int = 1000,
        height: int = 900,
        dark: bool = False,
        script: bool = True,
    ) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol for this tab."""
        return self._browser.ask(method, parameters, self._session)

    def events(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of this name so far."""
        self.value("0")
        told = self._browser.events(self._session)
        return [event["params"] for event in told if event["method"] == method]

    def open(self, url: str) -> None:
        """Goes there, and waits until it is loaded."""
        loaded = len(self.events("Page.loadEventFired"))
        answer = self.ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.wait(lambda: len(self.events("Page.loadEventFired")) > loaded, f"for {url}")

    def value(self, expression: str) -> Any:
        """What JavaScript makes of an expression, also where the page's own scripts don't run."""
        told = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """The text of an element as it is to be seen."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def wait(self, true: Callable[[], object], what: str = "") -> None:
        """Returns when `true()` is."""
        deadline = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < deadline, f"waited in vain {what}"
            time.sleep(0.05)

    def problems(self) -> list[str]:
        """What the browser had to say: errors, violations of the policy, exceptions."""
        logged = [entry["entry"]["text"] for entry in self.events("Log.entryAdded")]
        said = [str(call["args"]) for call in self.events("Runtime.consoleAPICalled")]
        thrown = [str(one["exceptionDetails"]) for one in self.events("Runtime.exceptionThrown")]
        return logged + said + thrown

    def requests(self) -> list[str]:
        """The URLs that were asked for."""
        return [one["request"]["url"] for one in self.events("Network.requestWillBeSent")]

    def picture(self, whole: bool = True) -> bytes:
        """A PNG of the page."""
        told = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])

    def close(self) -> None:
        """Closes it."""
        self._browser.ask("Target.closeTarget", {"targetId": self._target})
