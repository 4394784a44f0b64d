"""deploy/supervisord.conf and supervisord-guide.conf, started for real with the chat behind them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.chat import ROOT, Person, receive_kind
from tests.support.ports import free_port
from tests.support.proxies import program, start_nginx
from tests.support.services import RedisServer
from tests.support.stack import Process, eventually
from tests.support.wsclient import open_socket, send_json

DEPLOY = ROOT / "deploy"

#: The site of the well-known guide: each request is said to be an upgrade, and Host has no port.
GUIDE_SITE = """
upstream behind_nginx {{
    server 127.0.0.1:{behind};
}}
server {{
    listen 127.0.0.1:{port};
    location / {{
        try_files $uri @the_rest;
    }}
    location @the_rest {{
        proxy_pass http://behind_nginx;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_redirect off;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $server_name;
    }}
}}
"""


@dataclass
class Supervised:
    """A running Supervisor."""

    process: Process
    configuration: Path
    port: int
    environment: dict[str, str]

    def control(self, *words: str) -> str:
        """What `supervisorctl` answers. Its status is not looked at: `status` has one of its own."""
        command = [program("supervisorctl"), "-c", str(self.configuration), *words]
        env = {**os.environ, **self.environment}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr


@pytest.fixture
def supervised(tmp_path: Path, redis_server: RedisServer) -> Iterator[Supervised]:
    yield from run_supervised("supervisord.conf", tmp_path, redis_server)


@pytest.fixture
def guided(tmp_path: Path, redis_server: RedisServer) -> Iterator[Supervised]:
    yield from run_supervised("supervisord-guide.conf", tmp_path, redis_server)


def run_supervised(name: str, tmp_path: Path, redis_server: RedisServer) -> Iterator[Supervised]:
    port = free_port()
    data = tmp_path / "data"
    data.mkdir()
    configuration = DEPLOY / name
    redis_url = redis_server.tcp_url
    environment = {
        "HEADRACE_PROJECT": str(ROOT / "examples" / "chat"),
        "HEADRACE_BIN": str(Path(sys.executable).parent),
        "HEADRACE_LAYER": redis_url,
        "HEADRACE_LISTEN": f"127.0.0.1:{port}",
        "HEADRACE_RUN": str(tmp_path),
        "HEADRACE_LOG": str(tmp_path),
        "CHAT_REDIS_URL": redis_url,
        "CHAT_DATA_DIR": str(data),
    }
    manage = [sys.executable, "manage.py"]
    for command in ([*manage, "migrate", "--verbosity", "0"], [*manage, "demo_users"]):
        subprocess.run(
            command, cwd=environment["HEADRACE_PROJECT"], env={**os.environ, **environment}, check=True
        )
    arguments = [program("supervisord"), "-n", "-c", str(configuration)]
    process = Process(arguments, environment, tmp_path, "supervisord")
    try:
        yield Supervised(process, configuration, port, environment)
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


def test_the_well_known_guide_serves_on_all_its_sockets(guided: Supervised, tmp_path: Path) -> None:
    eventually(lambda: Person.if_served(guided.port, "ada"), 30, "the chat answers")
    for number in range(2):
        transport = httpx.HTTPTransport(uds=str(tmp_path / f"interface{number}.sock"))
        with httpx.Client(transport=transport, timeout=20) as client:
            asked = client.get("http://127.0.0.1/sign-in/", headers={"X-Forwarded-For": f"192.0.2.{number}"})
        assert asked.status_code == 200
        log = tmp_path / f"interface{number}.log"
        eventually(lambda log=log, number=number: f"192.0.2.{number}" in log.read_text())
    assert guided.control("status").count("RUNNING") == 4
    assert guided.control("restart", "headrace-interface:*").count("started") == 2
    assert Person(guided.port, "ada").request("GET", "/whoami/")[0] == 200


def test_the_nginx_of_the_well_known_guide_is_understood(guided: Supervised, tmp_path: Path) -> None:
    eventually(lambda: Person.if_served(guided.port, "ada"), 30, "the chat answers")
    folder = tmp_path / "nginx"
    folder.mkdir()
    port = free_port()
    nginx = start_nginx(folder, GUIDE_SITE.format(behind=guided.port, port=port))
    try:
        # She signs in with a POST.
        ada = eventually(lambda: Person.if_served(port, "ada"), 20, "the chat answers through nginx")
        cookie = {"Cookie": ada.cookie_header}
        with open_socket(
            port, "/rooms/kitchen/socket/", additional_headers=cookie, origin="http://127.0.0.1"
        ) as room:
            receive_kind(room, "posts")
            send_json(room, {"type": "post", "body": "through the guide"})
            assert receive_kind(room, "posts")["posts"][0]["body"] == "through the guide"
    finally:
        nginx.end()
        nginx.log.close()
