"""`manage.py runworker`, as a real process over a real Redis."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace_asgi import RedisChannelLayer

ROOT = Path(__file__).parents[4]

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["headrace"]
ROOT_URLCONF = "site_routing"
USE_TZ = True
CHANNEL_LAYERS = {layers}
"""
ROUTING = """
import os, time
from headrace import route

urlpatterns = []

def said(message):
    if message.get("pause"):
        message.reply_channel.send({"started": True}, immediately=True)
        time.sleep(message["pause"])
    message.reply_channel.send({"pid": os.getpid(), "n": message.get("n")})

def fatal(message):
    os._exit(9)

routes = [route(["work", "other"], said), route("fatal", fatal)]
"""


#: A layer whose server lets nobody in.
LOCKED = """
from headrace_asgi import RedisChannelLayer
from headrace_asgi.errors import ConfigurationError

class Layer(RedisChannelLayer):
    def ensure_usable(self):
        raise ConfigurationError("the password is wrong")
"""
ASYNCHRONOUS = """
from headrace.generic.websockets import WebsocketConsumer

class Chat(WebsocketConsumer):
    async def receive(self, text=None, bytes=None, **kwargs):
        self.send(text=text)

routes = [Chat.as_route()]
"""


class Project:
    """A project in a folder, and the workers started from it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.workers: list[subprocess.Popen[str]] = []
        self.layer = RedisChannelLayer(hosts=[url])
        self.write("site_routing.py", ROUTING)
        self.configure(
            {
                "default": {
                    "BACKEND": "headrace_asgi.RedisChannelLayer",
                    "ROUTING": "site_routing.routes",
                    "CONFIG": {"hosts": [url]},
                }
            }
        )

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def configure(self, layers: Any) -> None:
        self.write("site_settings.py", SETTINGS.format(layers=repr(layers)))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        path = [str(self.folder), *(str(ROOT / name) for name in ("asgi_spec", "worker"))]
        self.workers.append(
            subprocess.Popen(
                [sys.executable, "-m", "django", "runworker", *arguments],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path),
                    "DJANGO_SETTINGS_MODULE": "site_settings",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return self.workers[-1]

    def ask(self, channel: str = "work", seconds: float = 10, **content: Any) -> Any:
        reply_channel = self.layer.new_channel("answer?")
        self.layer.send(channel, {"reply_channel": reply_channel, **content})
        received = self.layer.receive_many([reply_channel], 1, seconds)
        return received[0][1] if received else None

    def close(self) -> None:
        for worker in self.workers:
            # Children of a dead worker would keep its pipe open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.communicate(timeout=10)
        self.layer.close()


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Iterator[Project]:
    project = Project(tmp_path, redis_url)
    yield project
    project.close()


def stopped(worker: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """Stop a worker; what it said. It must leave with 0."""
    worker.send_signal(number)
    output, _ = worker.communicate(timeout=10)
    assert worker.returncode == 0, output
    return output


def test_w6_an_idle_worker_leaves_with_0_at_once(project: Project) -> None:
    worker = project.start()
    assert project.ask(n=1)["pid"] == worker.pid
    began = time.monotonic()
    output = stopped(worker)
    assert time.monotonic() - began < 2
    assert "Taking from default (" in output
    assert "channels fatal, http.request, other, websocket.connect, " in output
    assert "Stopped; handled since the start: done 1" in output


@pytest.mark.parametrize("arguments", [[], ["--threads", "2"], ["--processes", "2"]])
def test_w6_a_running_consumer_is_finished_before_a_worker_leaves(
    project: Project, arguments: list[str]
) -> None:
    worker = project.start(*arguments)
    project.ask()
    reply_channel = project.layer.new_channel("answer?")
    project.layer.send("work", {"reply_channel": reply_channel, "pause": 0.3})
    assert project.layer.receive_many([reply_channel], 1, 10)[0][1] == {"started": True}
    stopped(worker, signal.SIGINT)
    assert "pid" in project.layer.receive_many([reply_channel], 1, 0)[0][1]


def eventually(check: Callable[[], Any]) -> None:
    give_up = time.monotonic() + 10
    while not check():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_second_signal_is_hard(project: Project) -> None:
    worker = project.start()
    project.ask()
    assert project.ask(pause=30) == {"started": True}
    worker.send_signal(signal.SIGTERM)

    def hurried() -> bool:
        # Two signals at once may count as one.
        time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        return worker.poll() is not None

    eventually(hurried)
    assert worker.returncode == -signal.SIGTERM


def test_several_processes_share_the_work_and_the_dead_are_replaced(project: Project) -> None:
    worker = project.start("--processes", "2")
    pids: set[int] = set()

    def answered_by(count: int) -> bool:
        pids.add(project.ask()["pid"])
        return len(pids) == count

    eventually(lambda: answered_by(2))
    assert worker.pid not in pids
    project.layer.send("fatal", {})
    # A third one answers: the dead one is buried and replaced.
    eventually(lambda: answered_by(3))
    log = stopped(worker)
    assert "failed with status 9, lost 1: A message on fatal" in log
    assert "; starting another" in log


def test_threads_answer_too(project: Project) -> None:
    worker = project.start("--threads", "3")
    for number in range(20):
        assert project.ask(n=number)["n"] == number
    stopped(worker)


def test_channels_are_chosen_by_globs(project: Project) -> None:
    worker = project.start("--only-channels", "w*", "--only-channels", "oth*", "--exclude-channels", "o?her")
    assert project.ask("work")
    assert project.ask("other", seconds=0.1) is None
    assert "channels websocket.connect, websocket.disconnect, websocket.receive, work" in stopped(worker)


def test_every_message_is_shown_if_asked(project: Project) -> None:
    worker = project.start("-v", "2")
    project.ask()
    assert "< work answer?" in stopped(worker)


def test_a_change_of_the_code_restarts_a_worker_with_reload(project: Project) -> None:
    worker = project.start("--reload")
    first = project.ask()["pid"]
    project.write("site_routing.py", ROUTING.replace('message.get("n")', '"new"'))
    touched = itertools.count(int(time.time()) + 5)

    def reloaded() -> bool:
        # The reloader notices a change only after its first look around, which nothing tells of.
        later = next(touched)
        os.utime(project.folder / "site_routing.py", (later, later))
        answer = project.ask(n="old", seconds=1)
        return answer is not None and answer["n"] == "new"

    eventually(reloaded)
    assert project.ask()["pid"] != first
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)


def test_a_bad_routing_is_one_line_with_reload_too_and_its_file_is_watched(project: Project) -> None:
    project.write("site_routing.py", "import no_such_module\n")
    worker = project.start("--reload")
    assert worker.stdout is not None
    first = worker.stdout.readline()
    assert first.startswith(
        "CommandError: CHANNEL_LAYERS['default']['ROUTING'] = 'site_routing.routes' cannot be"
    )
    assert "No module named 'no_such_module'" in first
    project.write("site_routing.py", ROUTING)
    touched = itertools.count(int(time.time()) + 5)

    def repaired() -> bool:
        later = next(touched)
        os.utime(project.folder / "site_routing.py", (later, later))
        return project.ask(seconds=1) is not None

    eventually(repaired)
    worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate(timeout=10)
    assert "Traceback" not in output
    assert "CommandError" not in output


@pytest.mark.parametrize(
    ("arguments", "layers", "said"),
    [
        (["--layer", "other"], None, "CHANNEL_LAYERS['other']: there is no such layer"),
        ([], {}, "CHANNEL_LAYERS is not set"),
        ([], {"default": {}}, "it has no ROUTING"),
        ([], {"default": {"ROUTING": "no.routing"}}, "ModuleNotFoundError: No module named 'no'"),
        ([], {"default": {"ROUTING": "broken.routes"}}, "'ROUTING'] = 'broken.routes' cannot be imported"),
        ([], {"default": {"ROUTING": [], "BACKEND": "no.Layer"}}, "no.Layer"),
        (
            [],
            {"default": {"ROUTING": [], "BACKEND": "headrace_asgi.InMemoryChannelLayer"}},
            "lives in one process",
        ),
        (
            [],
            {
                "default": {
                    "ROUTING": [],
                    "BACKEND": "headrace_asgi.RedisChannelLayer",
                    "CONFIG": {"hosts": ["http://x"]},
                }
            },
            "CHANNEL_LAYERS['default']:",
        ),
        (["--only-channels", "nothing"], None, "leave no channel"),
        (
            ["--settings", "broken_urls"],
            None,
            "ROOT_URLCONF = 'broken' cannot be imported: ZeroDivisionError",
        ),
        (["--reload", "--processes", "2"], None, "--reload works with one process"),
        (
            [],
            {"default": {"ROUTING": [], "BACKEND": "locked.Layer"}},
            "CommandError: CHANNEL_LAYERS['default']: the password is wrong",
        ),
        ([], {"default": {"ROUTING": "asynchronous.routes"}}, "Chat has async methods (receive)"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_status_1(
    project: Project, arguments: list[str], layers: Any, said: str
) -> None:
    project.write("broken.py", "1 / 0\n")
    project.write("locked.py", LOCKED)
    project.write("asynchronous.py", ASYNCHRONOUS)
    project.write("broken_urls.py", "from site_settings import *\nROOT_URLCONF = 'broken'\n")
    if layers is not None:
        project.configure(layers)
    worker = project.start(*arguments)
    output, _ = worker.communicate(timeout=20)
    assert worker.returncode == 1
    assert said in output
    assert output.strip().count("\n") == 0, output


@pytest.mark.parametrize(
    "arguments", [["--threads", "0"], ["--processes", "-1"], ["--threads", "x"], ["--threads", "1.5"]]
)
def test_a_wrong_number_is_refused_with_what_is_wanted(project: Project, arguments: list[str]) -> None:
    worker = project.start(*arguments)
    output, _ = worker.communicate(timeout=20)
    assert worker.returncode == 2
    assert f"argument {arguments[0]}: must be a whole number from 1, not '{arguments[1]}'" in output


def test_what_is_suggested_is_called_as_in_the_documentation(project: Project) -> None:
    project.configure({})
    output, _ = project.start().communicate(timeout=20)
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    assert 'CHANNEL_LAYERS = {"default": {"ROUTING": "project.routing.routing"}}' in output
    assert '{"ROUTING": "mill.routing.routing"}' in tutorial
