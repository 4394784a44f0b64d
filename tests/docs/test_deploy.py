"""The nginx configuration of docs/deploy.md, before a real interface server and worker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.proxies import start_nginx
from tests.support.stack import ROOT, Stack, eventually
from tests.support.wsclient import open_socket, receive_json, send_json


def site(behind: int, port: int) -> str:
    """The block of the page, on other ports."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", page, re.M | re.S)
    return block.replace("127.0.0.1:8000", f"127.0.0.1:{behind}").replace(
        "listen 80", f"listen 127.0.0.1:{port}"
    )


@pytest.fixture
def nginx_port(tmp_path: Path, redis_url: str) -> Iterator[int]:
    port = free_port()
    with Stack.over(redis_url) as stack:
        stack.interface("--proxy-headers")
        stack.worker()
        nginx = start_nginx(tmp_path, site(stack.port, port))
        stack.processes.append(nginx)
        eventually(lambda: ask(port, "/hello").status_code == 200, what=nginx.output())
        yield port


def ask(port: int, path: str, body: bytes = b"") -> httpx.Response:
    try:
        url = f"http://127.0.0.1:{port}{path}"
        return httpx.request(
            "POST" if body else "GET", url, content=body or None, trust_env=False, timeout=20
        )
    except httpx.TransportError as error:
        raise OSError(str(error)) from None


def test_requests_uploads_streams_and_sockets_pass_nginx(nginx_port: int) -> None:
    assert ask(nginx_port, "/hello").text == "Hello, world!"
    assert ask(nginx_port, "/digest", os.urandom(1_000_000)).json()["bytes"] == 1_000_000
    assert ask(nginx_port, "/numbers").text.count("\n") == 1000
    with open_socket(nginx_port, "/ws/echo", origin=f"http://127.0.0.1:{nginx_port}") as socket:
        send_json(socket, "through nginx")
        assert receive_json(socket) == "through nginx"
