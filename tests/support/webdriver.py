"""Driving Chromium over the W3C WebDriver protocol, with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["Browser", "ChromeDriver", "WebDriverError", "chromium_programs"]

Found = TypeVar("Found")

#: The key under which the protocol wraps the number of an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
]


class WebDriverError(Exception):
    """The driver or the page answered with an error."""


def chromium_programs() -> tuple[str, str] | None:
    """Paths of the browser and its driver, or None if either is missing."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body or {}).encode() if method == "POST" else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            value = json.load(error)["value"]
        raise WebDriverError(f"{value['error']}: {value['message']}") from None


class ChromeDriver:
    """One driver process; as a context manager it ends its browsers and itself."""

    def __init__(self, browser: str, driver: str, port: int) -> None:
        self._program = browser
        self._url = f"http://127.0.0.1:{port}"
        self._browsers: list[Browser] = []
        self._process = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> ChromeDriver:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if _call("GET", f"{self._url}/status")["ready"]:
                    return self
            except OSError:
                time.sleep(0.05)
        self._process.kill()
        raise WebDriverError("chromedriver does not answer")

    def __exit__(self, *exc_info: object) -> None:
        for browser in self._browsers:
            browser.quit()
        self._process.terminate()
        self._process.wait(10)

    def new_browser(self, width: int = 1200, height: int = 800) -> Browser:
        """A browser with a profile of its own: nobody is signed in."""
        options = {"binary": self._program, "args": [*ARGUMENTS, f"--window-size={width},{height}"]}
        wanted = {
            "alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
        }
        session = _call("POST", f"{self._url}/session", {"capabilities": wanted})
        browser = Browser(f"{self._url}/session/{session['sessionId']}")
        self._browsers.append(browser)
        return browser


class Browser:
    """One browser window."""

    def __init__(self, session_url: str) -> None:
        self._url = session_url

    def quit(self) -> None:
        _call("DELETE", self._url)

    def open(self, url: str) -> None:
        _call("POST", f"{self._url}/url", {"url": url})

    @property
    def url(self) -> str:
        address: str = _call("GET", f"{self._url}/url")
        return address

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script, the body of a function, returns."""
        return _call("POST", f"{self._url}/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the browser's own protocol."""
        return _call("POST", f"{self._url}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _element(self, css: str) -> str:
        found = _call("POST", f"{self._url}/element", {"using": "css selector", "value": css})
        return f"{self._url}/element/{found[ELEMENT]}"

    def click(self, css: str) -> None:
        _call("POST", f"{self._element(css)}/click")

    def type(self, css: str, text: str) -> None:
        """Press keys in an element; `\\n` is Enter. A file input takes the file's path."""
        _call("POST", f"{self._element(css)}/value", {"text": text.replace("\n", "\ue007")})

    def text(self, css: str) -> str:
        shown: str = _call("GET", f"{self._element(css)}/text")
        return shown

    def texts(self, css: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)"
        shown: list[str] = self.run(script, css)
        return shown

    def wait(self, what: Callable[[Browser], Found], timeout_seconds: float = 15) -> Found:
        """Ask until the answer is true, and return it."""
        deadline = time.monotonic() + timeout_seconds
        problem: Exception | None = None
        while time.monotonic() < deadline:
            try:
                if answer := what(self):
                    return answer
            except WebDriverError as error:
                problem = error
            time.sleep(0.05)
        page = self.run("return document.body ? document.body.innerText : ''")
        log = self.console()
        raise WebDriverError(
            f"not within {timeout_seconds} s at {self.url} ({problem})\n{page}\nconsole: {log}"
        )

    def console(self) -> list[str]:
        """What the page logged since the last call, policy violations and script errors included."""
        return [
            entry["message"]
            for entry in _call("POST", f"{self._url}/se/log", {"type": "browser"})
            if entry["level"] == "SEVERE"
        ]

    def dark(self, on: bool = True) -> None:
        value = "dark" if on else "light"
        self.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}]
        )

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_call("GET", f"{self._url}/screenshot")))
