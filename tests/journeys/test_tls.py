"""TLS that ends in a real interface server, with a real worker: pages, sockets, a certificate's renewal."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.stack import Process, Stack, eventually
from tests.support.tls import FilePair, issue, trusting
from tests.support.wsclient import open_socket, receive_json, send_json


@dataclass
class Site:
    """A site with one certificate, for 127.0.0.1 and www.example."""

    interface: Process
    port: int
    folder: Path
    pair: FilePair

    def renew(self) -> FilePair:
        """Another certificate in the same files."""
        return issue(self.folder, "127.0.0.1", "www.example")

    def ask(self, path: str, context: ssl.SSLContext) -> httpx.Response:
        try:
            with httpx.Client(verify=context, timeout=20, trust_env=False) as client:
                return client.get(f"https://127.0.0.1:{self.port}{path}")
        except httpx.TransportError as error:
            raise OSError(str(error)) from None


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[Site]:
    pair = issue(tmp_path, "127.0.0.1", "www.example")
    with Stack.over(redis_url) as stack:
        interface = stack.start_interface("--certfile", str(pair.certificate), "--keyfile", str(pair.key))
        found = interface.wait_for(r"https://127\.0\.0\.1:(\d+)/")
        stack.worker()
        this = Site(interface, int(found[1]), tmp_path, pair)
        eventually(lambda: this.ask("/hello", trusted(this)).status_code == 200, what=interface.output())
        yield this


def trusted(site: Site) -> ssl.SSLContext:
    """What trusts the certificate that stands in the file now."""
    context = trusting(site.pair.certificate)
    context.check_hostname = True
    return context


def test_pages_and_sockets_come_by_tls_and_a_renewal_disturbs_nobody(site: Site) -> None:
    assert site.ask("/hello", trusted(site)).text == "Hello, world!"
    assert site.ask("/numbers", trusted(site)).text.count("\n") == 1000
    former = trusted(site)
    with open_socket(site.port, "/ws/echo", scheme="wss", ssl=former) as socket:
        send_json(socket, "before")
        assert receive_json(socket) == "before"
        site.renew()
        site.interface.popen.send_signal(signal.SIGHUP)
        site.interface.wait_for("Certificates that are served now")
        send_json(socket, "after")
        assert receive_json(socket) == "after"
    assert site.ask("/hello", trusted(site)).text == "Hello, world!"
    with pytest.raises(OSError, match="certificate verify failed"):
        site.ask("/hello", former)


def test_a_link_without_tls_is_told_what_is_wrong(site: Site) -> None:
    answer = httpx.get(f"http://127.0.0.1:{site.port}/hello", timeout=20, trust_env=False)
    assert answer.status_code == 400
    assert answer.text.startswith("A plain HTTP request was sent to an HTTPS port")
    site.interface.wait_for("came without TLS to a port that speaks it")
    assert "Traceback" not in site.interface.output()
