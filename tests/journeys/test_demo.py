"""`make demo` without make: both tiers under one command, used over HTTP and WebSockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.support.chat import ROOT, Demo, Person, processes_below, receive_kind
from tests.support.stack import eventually
from tests.support.wsclient import send_json


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(tmp_path_factory.mktemp("chat")) as running:
        yield running


def test_a_message_of_one_person_is_seen_by_both(demo: Demo) -> None:
    ada, grace = Person(demo.port, "ada"), Person(demo.port, "grace")
    with ada.open_room("kitchen") as hers, grace.open_room("kitchen") as the_others:
        # The history comes first; then ada hears that grace has come.
        receive_kind(hers, "posts")
        receive_kind(the_others, "posts")
        while receive_kind(hers, "people")["people"] != ["ada", "grace"]:
            pass
        send_json(hers, {"type": "post", "body": "Hello", "nonce": "1"})
        for end in (hers, the_others):
            (post,) = receive_kind(end, "posts")["posts"]
            assert (post["author"], post["body"]) == ("ada", "Hello")


def test_twenty_posts_in_a_row_stay_in_order(demo: Demo) -> None:
    ada = Person(demo.port, "ada")
    with ada.open_room("workshop") as room:
        receive_kind(room, "posts")
        for number in range(20):
            send_json(room, {"type": "post", "body": str(number)})
        seen = [receive_kind(room, "posts")["posts"][0]["body"] for _ in range(20)]
    assert seen == [str(number) for number in range(20)]


def test_a_reminder_comes_when_it_is_due_and_to_one_person_only(demo: Demo) -> None:
    ada = Person(demo.port, "ada")
    with ada.open_room("kitchen") as room:
        receive_kind(room, "posts")
        send_json(room, {"type": "remind", "text": "tea", "seconds": 1})
        assert receive_kind(room, "noted")["seconds"] == 1
        (post,) = receive_kind(room, "posts")["posts"]
        assert (post["kind"], post["body"]) == ("reminder", "tea")


def test_a_long_poll_is_held_until_somebody_says_something(demo: Demo) -> None:
    ada, grace = Person(demo.port, "ada"), Person(demo.port, "grace")
    with ada.open_room("kitchen") as room:
        receive_kind(room, "posts")
        newest = json.loads(grace.request("GET", "/rooms/kitchen/next/?after=0")[1])["posts"][-1]["id"]
        answers: list[tuple[int, bytes]] = []
        address = f"/rooms/kitchen/next/?after={newest}"
        waiting = threading.Thread(target=lambda: answers.append(grace.request("GET", address)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive(), f"the long poll was answered too early: {answers}"
        send_json(room, {"type": "post", "body": "at last"})
        waiting.join(15)
    ((status, content),) = answers
    assert (status, json.loads(content)["posts"][0]["body"]) == (200, "at last")


def test_twenty_megabytes_are_uploaded_announced_and_downloaded_again(demo: Demo) -> None:
    ada = Person(demo.port, "ada")
    content = os.urandom(1_000_000) * 20
    head = (
        b'--headrace-end-of-part\r\nContent-Disposition: form-data; name="file"; filename="wheel.bin"\r\n\r\n'
    )
    headers = {
        "Content-Type": "multipart/form-data; boundary=headrace-end-of-part",
        "X-CSRFToken": ada.cookies["csrftoken"],
    }
    with ada.open_room("workshop") as room:
        receive_kind(room, "posts")
        status, answer = ada.request(
            "POST", "/rooms/workshop/upload/", head + content + b"\r\n--headrace-end-of-part--\r\n", headers
        )
        assert status == 201, answer[:500]
        (post,) = receive_kind(room, "posts")["posts"]
    assert (post["kind"], post["size"]) == ("file", len(content))
    status, downloaded = ada.request("GET", post["url"])
    assert status == 200
    assert downloaded == content


def test_a_file_above_the_limit_is_refused_with_a_reason(demo: Demo) -> None:
    ada = Person(demo.port, "ada")
    head = (
        b'--headrace-end-of-part\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
    )
    headers = {
        "Content-Type": "multipart/form-data; boundary=headrace-end-of-part",
        "X-CSRFToken": ada.cookies["csrftoken"],
    }
    body = head + bytes(25_000_001) + b"\r\n--headrace-end-of-part--\r\n"
    status, answer = ada.request("POST", "/rooms/kitchen/upload/", body, headers)
    assert (status, json.loads(answer)) == (413, {"error": "The file is too large: at most 25 MB."})


def test_a_socket_of_another_site_is_refused(demo: Demo) -> None:
    ada = Person(demo.port, "ada")
    connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=15)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Origin": "http://evil.example",
        "Cookie": ada.cookie_header,
    }
    connection.request("GET", "/rooms/kitchen/socket/", headers=headers)
    assert connection.getresponse().status == 403
    connection.close()


def test_ctrl_c_ends_every_process_and_frees_the_port(tmp_path: Path) -> None:
    with Demo(tmp_path) as demo:
        members = processes_below(demo.process.pid)
        assert len(members) >= 4, members
        with Person(demo.port, "ada").open_room("kitchen") as room:
            receive_kind(room, "posts")
            # Ctrl-C, while somebody is connected.
            assert demo.process.end(signal.SIGINT, seconds=40) == 0
            assert close_code(room) == 1012
    eventually(lambda: not [pid for pid in members if Path(f"/proc/{pid}").exists()], what="all ended")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", demo.port)) != 0


def test_a_port_in_use_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "scripts/demo.py", "--port", str(port), "--data", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port}: Address already in use" in done.stdout
    assert not list(tmp_path.iterdir())


def close_code(room: ClientConnection) -> int | None:
    """The code that a socket was closed with, after everything that came before."""
    try:
        while True:
            room.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
