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

SECONDS = 100.0
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
        """Open a tab; for the keywords see Tab."""
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        return Tab(self, target, attached["sessionId"], **wishes)

    def ask(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Call a method of the protocol and return its result; fail if it fails."""
        self._last_id += 1
        call = {"id": self._last_id, "method": method, "params": parameters}
        self._socket.send(json.dumps(call | ({"sessionId": session} if session else {})))
        while True:
            answer = self._receive()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def events(self, session: str) -> list[dict[str, Any]]:
        """Return the events of a session so far."""
        return self._events.get(session, [])

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv())
        if "method" in message:
            self._events.setdefault(message.get("sessionId", ""), []).append(message)
        return message

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
        """End the browser."""
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
    """One page, `width` CSS pixels wide; `script` lets scripts run, `dark` sets a dark scheme."""

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
        """Call a method of the protocol for this tab."""
        return self._browser.ask(method, parameters, self._session)

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of all events of this name so far."""
        self.value("0")
        events = self._browser.events(self._session)
        return [event["params"] for event in events if event["method"] == method]

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        loaded = len(self.events("Page.loadEventFired"))
        answer = self.ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.wait(lambda: len(self.events("Page.loadEventFired")) > loaded, f"for {url}")

    def value(self, expression: str) -> Any:
        """Evaluate an expression of JavaScript, also where the page's own scripts don't run."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """Return the visible text of an element."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def wait(self, true: Callable[[], object], what: str = "") -> None:
        """Wait until `true()` is true."""
        deadline = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < deadline, f"waited in vain {what}"
            time.sleep(0.05)

    def problems(self) -> list[str]:
        """Return what the browser logged: errors, violations of the policy, exceptions."""
        logged = [entry["entry"]["text"] for entry in self.events("Log.entryAdded")]
        said = [str(call["args"]) for call in self.events("Runtime.consoleAPICalled")]
        thrown = [str(one["exceptionDetails"]) for one in self.events("Runtime.exceptionThrown")]
        return logged + said + thrown

    def requests(self) -> list[str]:
        """Return the URLs that were requested."""
        return [one["request"]["url"] for one in self.events("Network.requestWillBeSent")]

    def picture(self, whole: bool = True) -> bytes:
        """Return a PNG of the page."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """Close the tab."""
        self._browser.ask("Target.closeTarget", {"targetId": self._target})
