from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace_asgi.layers.embedded import guard
from headrace_asgi.layers.embedded.layer import runtime_directory
from tests.support.ports import free_port
from tests.support.stack import SOURCES, eventually
from tests.support.wsclient import open_socket

SETTINGS = """
import json, os
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = "only for tests"
DEBUG = True
INSTALLED_APPS = ["headrace", "django.contrib.staticfiles", "site1"]
ROOT_URLCONF = "site1.urls"
STATIC_URL = "/static/"
DATABASES = {}
CHANNEL_LAYERS = json.loads(os.environ["LAYERS"])
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("hello"))]
"""
ROUTING = """
from headrace.generic.websockets import WebsocketConsumer
VERSION = "first"
class Echo(WebsocketConsumer):
    def receive(self, text=None, bytes=None, **kwargs):
        self.send(text=VERSION + " " + text)
channel_routing = [Echo.as_route(path="^/ws/")]
"""
#: Where the embedded server of the project is, whatever the tests run under.
RUNTIME = {"XDG_RUNTIME_DIR": "", "TMPDIR": "/tmp"}
#: Within which a server that nobody uses any more is gone, with its directory.
GONE_SECONDS = 15
LAYERS = {"default": {"ROUTING": "site1.routing.channel_routing"}}


class Runserver:
    """`manage.py runserver` of a small project, in a session of its own, as a terminal would have it."""

    def __init__(self, folder: Path, *options: str, layers: Any = LAYERS) -> None:
        self.routing = folder / "site1" / "routing.py"
        self._log = folder / f"log-{len(list(folder.glob('log-*')))}"
        env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        env |= {
            "PYTHONPATH": f"{SOURCES}{os.pathsep}{folder}",
            "PYTHONUNBUFFERED": "1",
            "LAYERS": json.dumps(layers),
        }
        env |= RUNTIME
        with self._log.open("w") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "django", "runserver", "--settings", "site1.settings", *options],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            return re.search(pattern, self.output())

        match: re.Match[str] = eventually(found, seconds, f"{pattern!r} in {self.output()}")
        return match

    def listening(self) -> int:
        """The port, once the worker says that it is there."""
        port = int(self.wait_for(r"http://127\.0\.0\.1:(\d+)/")[1])
        self.wait_for(r"Headrace \d\S+ takes")
        return port

    def children(self) -> list[int]:
        """Process ids of everything this command started, by their session or their parents."""
        listed = subprocess.run(
            ["ps", "-eo", "pid=,sess="], capture_output=True, text=True, check=True
        ).stdout
        pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
        return [pid for pid, session in pairs if session == self.popen.pid and pid != self.popen.pid]

    def press_ctrl_c(self) -> int:
        """What a terminal does: SIGINT to the foreground group."""
        os.killpg(self.popen.pid, signal.SIGINT)
        return self.popen.wait(15)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            self.popen.wait(15)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Runserver]]:
    """Starts the command; afterwards none of them has left an embedded server, or its directory."""
    site = tmp_path / "site1"
    (site / "static").mkdir(parents=True)
    files = {"__init__": "", "settings": SETTINGS, "urls": URLS, "routing": ROUTING}
    for name, text in files.items():
        (site / f"{name}.py").write_text(text)
    (site / "static" / "a.css").write_text("body {}")
    started: list[Runserver] = []

    def run(*options: str, **kwargs: Any) -> Runserver:
        started.append(Runserver(tmp_path, *options, **kwargs))
        return started[-1]

    yield run
    for one in started:
        one.close()
    for name, value in RUNTIME.items():
        monkeypatch.setenv(name, value)
    directory = runtime_directory(str(site))
    try:
        eventually(lambda: not directory.exists(), GONE_SECONDS)
    except AssertionError:
        raise AssertionError(f"the embedded server is still there: {what_is_left(directory)}") from None


def what_is_left(directory: Path) -> str:
    """Of a server that should be gone: its files, who is connected, and the processes that name it."""
    said = [str(sorted(path.name for path in directory.glob("*")))]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(str(directory / guard.SOCKET))
        client.sendall(b"CLIENT LIST\r\n")
        said.append(client.recv(65_536).decode())
    listed = subprocess.run(["ps", "-eo", "pid,stat,etime,args"], capture_output=True, text=True, check=True)
    said += [line for line in listed.stdout.splitlines() if directory.name in line]
    return "\n".join(said)


def fetch(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def change(server: Runserver, before: str, after: str, name: str = "routing") -> None:
    """Change a module, and wait until the reloader noticed."""
    seen = server.output().count("changed, reloading")
    path = server.routing.with_name(f"{name}.py")
    path.write_text(path.read_text().replace(before, after))
    times = itertools.count(int(time.time()) + 2)

    def noticed() -> bool:
        # It compares times of modification, once a second, with those of its tick before.
        later = next(times)
        os.utime(path, (later, later))
        time.sleep(0.2)
        return server.output().count("changed, reloading") > seen

    eventually(noticed, 20, f"a reload in {server.output()}")


def ask(client: Any, text: str) -> str:
    client.send(text)
    answer: str = client.recv(timeout=15)
    return answer


def test_open_sockets_survive_a_change_of_the_code_and_ctrl_c_leaves_nothing(
    start: Callable[..., Runserver],
) -> None:
    server = start("0")
    port = server.listening()
    assert fetch(port, "/") == (200, b"hello")
    assert fetch(port, "/static/a.css") == (200, b"body {}")
    assert fetch(port, "/nowhere")[0] == 404
    with contextlib.closing(open_socket(port, "/ws/")) as client:
        assert ask(client, "a") == "first a"
        change(server, "first", "second")
        assert ask(client, "b") == "second b"
        change(server, "channel_routing =", "this is no Python")
        server.wait_for("SyntaxError")
        client.send("c")
        change(server, "this is no Python", "channel_routing =")
        assert client.recv(timeout=15) == "second c"
    server.wait_for(r"HTTP GET / 200 \[5, 127\.0\.0\.1\]")
    server.wait_for(r"WebSocket CONNECT /ws/ \[127\.0\.0\.1\]")
    children = server.children()
    assert len(children) >= 2
    server.press_ctrl_c()
    eventually(lambda: not any(alive(pid) for pid in children), 10, f"{children} to be gone")
    assert "Traceback" not in server.output().rpartition("Quit the server")[2]


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


BROKEN = [
    ("routing", "channel_routing = [", "channel_routing = [no_such_name, ", "NameError", True),
    ("routing", "channel_routing = [", "renamed = [", "has no &#x27;channel_routing&#x27;", True),
    ("routing", "from headrace", "import no_such_module\nfrom headrace", "no_such_module", True),
    ("urls", "urlpatterns", "this is no Python", "SyntaxError", False),
    ("models", "#", "raise RuntimeError('<script>')", "RuntimeError: &lt;script&gt;", False),
]


def test_browsers_are_told_what_is_broken_until_it_is_repaired(
    start: Callable[..., Runserver], tmp_path: Path
) -> None:
    (tmp_path / "site1" / "models.py").write_text("#")
    server = start("0")
    port = server.listening()
    assert fetch(port, "/") == (200, b"hello")
    for name, before, after, said, in_one_line in BROKEN:
        output = len(server.output())
        change(server, before, after, name)
        status, body = fetch(port, "/anything")
        assert (status, said in body.decode()) == (500, True), body.decode()
        assert "The project does not load" in body.decode()
        assert fetch(port, "/")[0] == 500
        told = server.output()[output:]
        assert ("Traceback" not in told) == in_one_line, told
        if in_one_line:
            assert told.count("Error: CHANNEL_LAYERS['default']['ROUTING']") == 1
        change(server, after, before, name)
        assert fetch(port, "/") == (200, b"hello")
    server.press_ctrl_c()


def test_what_is_broken_is_not_shown_to_the_public(start: Callable[..., Runserver], tmp_path: Path) -> None:
    text = SETTINGS.replace("DEBUG = True", "DEBUG = False\nALLOWED_HOSTS = ['*']")
    (tmp_path / "site1" / "settings.py").write_text(text)
    server = start("0")
    port = server.listening()
    urls = tmp_path / "site1" / "urls.py"
    urls.write_text("this is no Python")
    times = itertools.count(int(time.time()) + 2)

    def noticed() -> bool:
        later = next(times)
        os.utime(urls, (later, later))
        time.sleep(0.2)
        return "SyntaxError" in server.output()

    eventually(noticed, 20, "a reload")
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)


def test_the_banner_names_the_layer_what_is_taken_and_no_reload_that_will_not_come(
    start: Callable[..., Runserver], tmp_path: Path
) -> None:
    (tmp_path / "site1" / "layer.py").write_text(
        "from headrace_asgi import IPCChannelLayer\n"
        "class Labelled(IPCChannelLayer):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__(**options)\n"
        "        self.label = 'redis://h/0, prefix x'\n"
    )
    config = {"BACKEND": "site1.layer.Labelled", "CONFIG": {"name": str(tmp_path / "site1")}}
    layers = {"default": {**LAYERS["default"], **config}}
    server = start("0", "--noreload", layers=layers)
    server.listening()
    taken = "http.request, websocket.connect, websocket.disconnect, websocket.receive"
    assert f" takes {taken} from default (redis://h/0, prefix x).\n" in server.output()
    assert "stay open" not in server.output()
    server.press_ctrl_c()
    server = start("0", "--noworker", layers=layers)
    server.wait_for(
        r"Headrace \S+ uses default \(redis://h/0, prefix x\); no worker runs here \(--noworker\)"
    )
    server.wait_for("WebSockets stay open while the code changes")


def test_the_interface_server_ends_with_a_killed_parent(start: Callable[..., Runserver]) -> None:
    server = start("0", "--noreload", "--nothreading")
    port = server.listening()
    assert fetch(port, "/")[0] == 200
    children = server.children()
    assert children
    server.popen.kill()
    server.popen.wait()
    eventually(lambda: not any(alive(pid) for pid in children), 10, f"{children} to be gone")


def test_a_project_that_is_broken_at_the_start_serves_once_it_is_repaired(
    start: Callable[..., Runserver], tmp_path: Path
) -> None:
    broken = tmp_path / "site1" / "models.py"
    broken.write_text("this is no Python")
    server = start(str(free_port()))
    server.wait_for("SyntaxError")
    time.sleep(1.1)  # one tick of the reloader, which must have seen the file as it is
    broken.write_text("")
    later = time.time() + 2
    os.utime(broken, (later, later))
    server.wait_for("could not be loaded when this command started")
    port = server.listening()
    assert fetch(port, "/") == (200, b"hello")
    with contextlib.closing(open_socket(port, "/ws/")) as client:
        assert ask(client, "a") == "first a"
    server.press_ctrl_c()


def test_a_layer_in_memory_is_replaced_and_a_port_in_use_is_told(start: Callable[..., Runserver]) -> None:
    layers = {"default": {**LAYERS["default"], "BACKEND": "headrace_asgi.InMemoryChannelLayer"}}
    server = start("0", "--noreload", layers=layers)
    port = server.listening()
    assert "uses the embedded server instead" in server.output()
    assert fetch(port, "/") == (200, b"hello")
    second = start(str(port), "--noreload")
    assert second.popen.wait(15) == 1
    assert second.output().strip() == "CommandError: That port is already in use."


@pytest.mark.parametrize(
    ("options", "layers"), [(["--noasgi"], LAYERS), ([], {})], ids=["noasgi", "no layers"]
)
def test_without_layers_or_with_noasgi_it_is_djangos_own_server(
    start: Callable[..., Runserver], options: list[str], layers: Any
) -> None:
    port = free_port()
    server = start(str(port), "--noreload", *options, layers=layers)
    server.wait_for("Quit the server")
    assert eventually(lambda: fetch(port, "/")) == (200, b"hello")
    assert server.children() == []
    assert "WebSockets" not in server.output()


def test_a_layer_that_cannot_be_said_in_json_is_one_clear_line(
    start: Callable[..., Runserver], tmp_path: Path
) -> None:
    text = SETTINGS + 'CHANNEL_LAYERS["default"]["CONFIG"] = {"channel_capacity": {b"x": 1}}\n'
    (tmp_path / "site1" / "settings.py").write_text(text)
    server = start("0", "--noreload")
    assert server.popen.wait(15) == 1
    assert "as JSON" in server.output()
    assert len(server.output().strip().splitlines()) == 1


@pytest.mark.parametrize("options", [[], ["--noreload"]])
def test_a_port_that_is_none_is_one_line(start: Callable[..., Runserver], options: list[str]) -> None:
    server = start("99999", *options)
    assert server.popen.wait(15) == 1
    assert server.output() == "CommandError: 99999 is no port: it must be 0 to 65535.\n"


def test_a_layer_that_lets_nobody_in_is_one_line_at_the_start(
    start: Callable[..., Runserver], tmp_path: Path
) -> None:
    (tmp_path / "site1" / "locked.py").write_text(
        "from headrace_asgi import RedisChannelLayer\n"
        "from headrace_asgi.errors import ConfigurationError\n"
        "class Layer(RedisChannelLayer):\n"
        "    def ensure_usable(self):\n"
        "        raise ConfigurationError('the password is wrong')\n"
    )
    server = start("0", layers={"default": {**LAYERS["default"], "BACKEND": "site1.locked.Layer"}})
    assert server.popen.wait(15) == 1
    assert server.output() == "CommandError: the password is wrong\n"
