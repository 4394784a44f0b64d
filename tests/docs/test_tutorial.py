"""docs/tutorial.md, done as a reader would: its files are written, its commands run, its servers asked.

A block's info string says what it is: `python some/file.py` is a file, `python append some/file.py` the end
of one, `sh` is run, `sh server` is started and left running, `sh install` and `js` are left out. Only the
port and the address of Redis are others than on the page.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from tests.support.ports import free_port
from tests.support.services import RedisServer
from tests.support.stack import ROOT, SOURCES, Process, eventually
from tests.support.wsclient import open_socket, receive_json, send_json

PAGE = ROOT / "docs" / "tutorial.md"
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
RELOAD_SECONDS = 30.0
#: A file that changes before the reloader first looked at it is not a change: then it is touched.
TOUCH_SECONDS = 4.0


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    words: tuple[str, ...]
    text: str


def sections() -> dict[str, list[Block]]:
    """Heading -> its blocks, in the order of the page."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        heading, _, body = part.partition("\n")
        found[heading] = [Block(tuple(m["info"].split()), m["text"]) for m in FENCE.finditer(body)]
    return found


class Reader:
    """Somebody who follows the tutorial in a folder of their own."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.folder = folder
        self.port = free_port()
        self.site = f"http://127.0.0.1:{self.port}"
        self.servers: list[Process] = []
        self.ended: list[Process] = []
        self.sockets: dict[str, ClientConnection] = {}
        self.people: dict[str, httpx.Client] = {}
        self._redis_url = redis.tcp_url.removesuffix("/0")
        self._commands = folder / "bin"
        self._make_commands()
        self._folder_now = folder

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        text = block.text.replace("redis://127.0.0.1:6379", self._redis_url)
        match block.words:
            case ("sh",):
                self._run(text)
            case ("sh", "server"):
                self._start(text.strip())
            case ("sh", "install") | ("js",):
                pass
            case (("python" | "html"), "append", name):
                with (self.folder / name).open("a", encoding="utf-8") as file:
                    file.write(text)
            case (("python" | "html"), name):
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            case _:
                raise AssertionError(f"nobody knows what to do with a block of {block.words}")

    def _make_commands(self) -> None:
        """`python` and so on, as an environment with headrace[all] has them."""
        self._commands.mkdir()
        for name, module in (
            ("python", ""),
            ("django-admin", "-m django"),
            ("headrace-interface", "-m headrace_interface"),
        ):
            command = self._commands / name
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
            command.chmod(0o755)

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": SOURCES,
            "PATH": f"{self._commands}{os.pathsep}{os.environ['PATH']}",
            "DJANGO_SETTINGS_MODULE": "mill.settings",
        }

    def _run(self, text: str) -> None:
        done = subprocess.run(
            ["sh", "-e"],
            input=text,
            env={**os.environ, **self._environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"

    def _start(self, command: str) -> None:
        command = command.replace("runserver", f"runserver {self.port}").replace(
            "--port 8000", f"--port {self.port}"
        )
        name = next(word for word in ("runserver", "headrace-interface", "runworker") if word in command)
        self.servers.append(Process(["sh", "-c", f"exec {command}"], self._environment, self.folder, name))

    def server(self, name: str) -> Process:
        return next(each for each in self.servers if each.name == name)

    def end(self, *names: str) -> None:
        """Ctrl-C, in the terminals of these servers, or in all of them."""
        for each in [each for each in self.servers if not names or each.name in names]:
            self.servers.remove(each)
            self.ended.append(each)
            assert each.end(signal.SIGINT) == 0, each.output()

    # As a browser

    def answers(self, path: str, status: int = 200) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.site + path, trust_env=False, timeout=20).status_code == status
        return False

    def socket(self, path: str, who: str = "") -> ClientConnection:
        cookies = self.people[who].cookies if who else {}
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        headers = {"Cookie": header} if header else {}
        return open_socket(self.port, path, additional_headers=headers, origin=self.site)

    def sign_in(self, who: str) -> None:
        client = self.people[who] = httpx.Client(
            base_url=self.site, trust_env=False, follow_redirects=True, timeout=20
        )
        client.get("/accounts/login/")
        fields = {"username": who, "password": "water", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        answer = client.post("/accounts/login/", data=fields)
        assert (answer.status_code, answer.url.path) == (200, "/rooms/kitchen/"), answer.text[:500]

    def until(self, check: Callable[[], Any]) -> Any:
        """What `check` answers once the new code runs."""
        deadline, touch_at = time.monotonic() + RELOAD_SECONDS, time.monotonic() + TOUCH_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, TimeoutError, InvalidStatus, httpx.TransportError):
                if answer := check():
                    return answer
            if time.monotonic() > touch_at:
                (self.folder / "mill" / "routing.py").touch()
                touch_at = time.monotonic() + TOUCH_SECONDS
            time.sleep(0.05)
        raise AssertionError(f"the new code did not answer:\n{self.servers[0].output()[-4000:]}")

    def close(self) -> None:
        for socket in self.sockets.values():
            socket.close()
        for client in self.people.values():
            client.close()
        for each in [*self.servers, *self.ended]:
            if each.popen.poll() is None:
                each.end()
            each.log.close()


@pytest.fixture
def reader(tmp_path: Path, redis_server: RedisServer) -> Iterator[Reader]:
    reader = Reader(tmp_path, redis_server)
    try:
        yield reader
    except BaseException:
        for each in [*reader.servers, *reader.ended]:
            sys.stderr.write(f"--- {each.name}\n{each.output()[-4000:]}\n")
        raise
    finally:
        reader.close()
        shutil.rmtree(tmp_path, ignore_errors=True)


# What the page promises after each section.


def started(reader: Reader) -> None:
    assert (reader.folder / "manage.py").exists()


def first_consumer(reader: Reader) -> None:
    eventually(lambda: reader.answers("/"), 30, "Django's welcome page")
    with pytest.raises(InvalidStatus) as refused:
        open_socket(reader.port, "/echo/", origin="http://evil.example")
    assert refused.value.response.status_code == 403
    socket = reader.sockets["echo"] = reader.socket("/echo/")
    socket.send("hello")
    assert socket.recv(timeout=10) == "hello"


def changed_code(reader: Reader) -> None:
    socket = reader.sockets.pop("echo")

    def shouted() -> bool:
        socket.send("hello")
        return socket.recv(timeout=10) == "HELLO"

    reader.until(shouted)
    socket.close()


def rooms(reader: Reader) -> None:
    reader.until(lambda: reader.answers("/rooms/kitchen/"))
    with reader.socket("/rooms/kitchen/socket/") as one, reader.socket("/rooms/kitchen/socket/") as other:
        send_json(one, {})
        for text in ("hello", "again"):
            send_json(one, {"text": text})
        for socket in (one, other):
            assert [receive_json(socket)["text"] for _ in range(2)] == ["hello", "again"]


def users(reader: Reader) -> None:
    reader.until(lambda: reader.answers("/rooms/kitchen/", 302) and reader.answers("/accounts/login/"))
    for who in ("ada", "grace"):
        reader.sign_in(who)
    with pytest.raises(InvalidStatus) as refused:
        reader.socket("/rooms/kitchen/socket/")
    assert refused.value.response.status_code == 403
    for who in ("ada", "grace"):
        reader.sockets[who] = reader.socket("/rooms/kitchen/socket/", who)
    send_json(reader.sockets["ada"], {"text": "hello"})
    assert heard(reader) == [{"who": "ada", "text": "hello"}] * 2


def heard(reader: Reader) -> list[Any]:
    return [receive_json(reader.sockets[who], 20) for who in ("ada", "grace")]


def background_job(reader: Reader) -> None:
    def told() -> bool:
        send_json(reader.sockets["ada"], {"text": "hello @grace"})
        return postman_in(reader.sockets["ada"])

    reader.until(told)
    assert postman_in(reader.sockets["grace"])
    assert "Subject: ada mentioned you" in reader.server("runserver").output()


def postman_in(socket: ClientConnection) -> bool:
    """Whether the background job reports within a second of the last frame; TimeoutError if not."""
    while receive_json(socket, 2) != {"who": "postman", "text": "grace was told"}:
        pass
    return True


def long_poll(reader: Reader) -> None:
    reader.until(lambda: reader.answers("/rooms/kitchen/next/", 302))
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(reader.people["grace"].get("/rooms/kitchen/next/"))
    )
    waiting.start()
    waiting.join(0.7)
    assert waiting.is_alive(), answers
    send_json(reader.sockets["ada"], {"text": "at last"})
    waiting.join(20)
    assert (answers[0].status_code, answers[0].text) == (200, "at last")
    for who in ("ada", "grace"):
        reader.sockets.pop(who).close()


def two_tiers(reader: Reader) -> None:
    reader.until(lambda: reader.answers("/rooms/kitchen/next/", 302))
    eventually(lambda: reader.people["ada"].get("/rooms/kitchen/").status_code == 200, 30, "the chat answers")
    for who in ("ada", "grace"):
        reader.sockets[who] = reader.socket("/rooms/kitchen/socket/", who)
    reader.end("runworker")
    send_json(reader.sockets["ada"], {"text": "nobody works"})
    (again,) = [block for block in sections()["Two tiers"] if "runworker" in block.text]
    reader.follow(again)
    assert [each["text"] for each in heard(reader)] == ["nobody works"] * 2
    (shell,) = [block for block in sections()["Two tiers"] if "manage.py shell" in block.text]
    reader.follow(shell)
    assert [each["who"] for each in heard(reader)] == ["the shell"] * 2
    reader.end()


def nothing(reader: Reader) -> None:
    """A section without promises."""


PROMISES: dict[str, Callable[[Reader], None]] = {
    "Start a project": started,
    "A first consumer": first_consumer,
    "Change the code while a socket is open": changed_code,
    "Rooms": rooms,
    "Users": users,
    "A background job": background_job,
    "A long poll": long_poll,
    "Two tiers": two_tiers,
    "Where to go on": nothing,
}
#: "End `runserver` with Ctrl-C."
BEFORE: dict[str, Callable[[Reader], None]] = {"Two tiers": Reader.end}


def test_every_section_of_the_tutorial_has_a_promise_that_is_kept_below() -> None:
    assert list(sections()) == list(PROMISES)


def test_the_tutorial_leads_to_the_chat_that_it_promises(reader: Reader) -> None:
    for heading, blocks in sections().items():
        BEFORE.get(heading, nothing)(reader)
        for block in blocks:
            reader.follow(block)
        PROMISES[heading](reader)
