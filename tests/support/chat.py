"""The chat example as real processes, and people who use it without a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection

from tests.support.ports import free_port
from tests.support.stack import Process
from tests.support.wsclient import open_socket

__all__ = ["Demo", "Person", "embedded_servers", "processes_below", "receive_kind"]

ROOT = Path(__file__).resolve().parents[2]


class Demo:
    """`scripts/demo.py` on a free port with a folder of its own; as a context manager it runs and ends."""

    def __init__(self, data: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = [sys.executable, str(ROOT / "scripts" / "demo.py")]
        arguments += ["--port", str(self.port), "--data", str(data), *options]
        self.process = Process(arguments, {}, ROOT, "demo")

    def __enter__(self) -> Demo:
        try:
            self.process.wait_for("The chat is at", seconds=60)
        except BaseException:
            self.process.end(seconds=40)
            self.process.log.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self.process.end(seconds=40)
        output = self.process.output()
        self.process.log.close()
        if error is not None:
            sys.stderr.write(f"--- demo\n{output[-8000:]}\n")
        else:
            assert status == 0, output


class Person:
    """Somebody signed in to the chat, with cookies, over plain HTTP."""

    def __init__(self, port: int, name: str) -> None:
        self.port = port
        self.name = name
        self.cookies: dict[str, str] = {}
        self.request("GET", "/sign-in/")
        fields = {
            "username": name,
            "password": f"{name}-demo",
            "csrfmiddlewaretoken": self.cookies["csrftoken"],
        }
        body = urllib.parse.urlencode(fields).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _ = self.request("POST", "/sign-in/", body, headers)
        assert status == 302, f"{name} could not sign in: {status}"

    @classmethod
    def if_served(cls, port: int, name: str) -> Person | None:
        """The person, or None while the chat does not answer."""
        try:
            return cls(port, name)
        except (AssertionError, KeyError, OSError, http.client.HTTPException):
            return None

    @property
    def cookie_header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer; its cookies are kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Cookie": self.cookie_header, **(headers or {})} if self.cookies else dict(headers or {})
        connection.request(method, path, body or None, sent)
        answer = connection.getresponse()
        for header in answer.headers.get_all("Set-Cookie", []):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name.strip()] = value
        content = answer.read()
        connection.close()
        return answer.status, content

    def open_room(self, slug: str) -> ClientConnection:
        """A socket into a room; the caller closes it."""
        return open_socket(
            self.port,
            f"/rooms/{slug}/socket/",
            additional_headers={"Cookie": self.cookie_header},
            origin=f"http://127.0.0.1:{self.port}",
        )


def receive_kind(socket: ClientConnection, kind: str, seconds: float = 15) -> dict[str, Any]:
    """The next frame of this type; others are skipped."""
    while True:
        frame: dict[str, Any] = json.loads(socket.recv(timeout=seconds))
        if frame["type"] == kind:
            return frame


def processes_below(pid: int) -> list[int]:
    """Process ids of all descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [int(child) for child in children]
    return found + [grandchild for child in found for grandchild in processes_below(child)]


def embedded_servers(directory: str) -> list[int]:
    """Process ids of the embedded servers whose socket lies below a runtime directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace")
            if "valkey-server" in words and directory in words:
                found.append(int(path.parent.name))
    return found
