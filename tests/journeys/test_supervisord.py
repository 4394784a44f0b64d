"""deploy/supervisord.conf, started for real with the chat behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.chat import ROOT, Person, receive_kind
from tests.support.ports import free_port
from tests.support.services import RedisServer, skip_or_fail
from tests.support.stack import Process, eventually
from tests.support.wsclient import send_json

CONFIGURATION = ROOT / "deploy" / "supervisord.conf"


@dataclass
class Supervised:
    """A running Supervisor."""

    process: Process
    port: int
    environment: dict[str, str]

    def control(self, *words: str) -> str:
        """What `supervisorctl` answers. Its status is not looked at: `status` has one of its own."""
        command = [program("supervisorctl"), "-c", str(CONFIGURATION), *words]
        env = {**os.environ, **self.environment}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr


def program(name: str) -> str:
    """A program of the environment that runs the tests, or of the system."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        skip_or_fail(f"there is no {name}; `make services` installs it")
    return str(found)


@pytest.fixture
def supervised(tmp_path: Path, redis_server: RedisServer) -> Iterator[Supervised]:
    port = free_port()
    data = tmp_path / "data"
    data.mkdir()
    redis_url = redis_server.tcp_url
    environment = {
        "HEADRACE_PROJECT": str(ROOT / "examples" / "chat"),
        "HEADRACE_BIN": str(Path(sys.executable).parent),
        "HEADRACE_LAYER": redis_url,
        "HEADRACE_LISTEN": f"127.0.0.1:{port}",
        "HEADRACE_RUN": str(tmp_path),
        "CHAT_REDIS_URL": redis_url,
        "CHAT_DATA_DIR": str(data),
    }
    manage = [sys.executable, "manage.py"]
    for command in ([*manage, "migrate", "--verbosity", "0"], [*manage, "demo_users"]):
        subprocess.run(
            command, cwd=environment["HEADRACE_PROJECT"], env={**os.environ, **environment}, check=True
        )
    arguments = [program("supervisord"), "-n", "-c", str(CONFIGURATION)]
    process = Process(arguments, environment, tmp_path, "supervisord")
    try:
        yield Supervised(process, port, environment)
    finally:
        process.end(seconds=60)
        sys.stderr.write(process.output()[-6000:])
        process.log.close()


def test_http_and_sockets_work_and_a_restart_of_the_workers_keeps_the_socket(supervised: Supervised) -> None:
    ada = eventually(lambda: Person.if_served(supervised.port, "ada"), 30, "the chat answers")
    with ada.open_room("kitchen") as room:
        receive_kind(room, "posts")
        send_json(room, {"type": "post", "body": "before"})
        assert receive_kind(room, "posts")["posts"][0]["body"] == "before"
        answer = supervised.control("restart", "headrace-workers:*")
        assert answer.count("started") == 2, answer
        send_json(room, {"type": "post", "body": "after"})
        assert receive_kind(room, "posts")["posts"][0]["body"] == "after"
    status = supervised.control("status")
    assert status.count("RUNNING") == 3, status


def test_the_interface_server_comes_back_on_the_same_port(supervised: Supervised) -> None:
    ada = eventually(lambda: Person.if_served(supervised.port, "ada"), 30, "the chat answers")
    supervised.control("restart", "headrace-interface:*")
    assert ada.request("GET", "/whoami/")[0] == 200


def test_a_file_that_the_output_is_redirected_to_has_every_line_of_everybody(supervised: Supervised) -> None:
    """The output goes to a file that was not opened for appending, as `> file` does."""
    ada = eventually(lambda: Person.if_served(supervised.port, "ada"), 30, "the chat answers")
    numbers = range(40)
    for number in numbers:
        assert ada.request("GET", f"/whoami/?number={number}.")[0] == 200
        if number % 10 == 5:
            supervised.control("restart", "headrace-workers:headrace-worker1")
    supervised.process.end(seconds=60)
    lines = supervised.process.output().splitlines()
    assert "\0" not in "".join(lines)

    def count(what: str) -> int:
        return sum(what in line for line in lines)

    assert [number for number in numbers if count(f"/whoami/?number={number}. ") != 1] == []
    assert count("Listening on") == 1
    assert count("Taking from") == 6
    assert count("INFO spawned: 'headrace-worker1'") == 5
    assert count("INFO stopped: headrace-worker1") == 5
    assert count("INFO spawned: 'headrace-interface0'") == 1
