"""examples/mqtt as real processes, with a client of MQTT that others wrote: Paho."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.ports import free_port
from tests.support.services import RedisServer
from tests.support.stack import ROOT, SOURCES, Process, eventually

PROJECT = ROOT / "examples" / "mqtt"


class Device:
    """A client of Paho, with a thread of its own."""

    def __init__(self, port: int, name: str, password: str = "secret", will: str = "") -> None:
        paho = pytest.importorskip("paho.mqtt.client", reason="there is no paho-mqtt; `make dev` installs it")
        self.connacks: queue.Queue[str] = queue.Queue()
        self.subacks: queue.Queue[list[int]] = queue.Queue()
        self.heard: queue.Queue[tuple[str, bytes, int, bool]] = queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"{name}-1")
        self.client.username_pw_set(name, password)
        if will:
            self.client.will_set(will, b"gone", qos=1)
        self.client.on_connect = lambda client, data, flags, code, properties: self.connacks.put(str(code))
        self.client.on_subscribe = lambda client, data, number, codes, properties: self.subacks.put(
            [code.value for code in codes]
        )
        self.client.on_message = lambda client, data, message: self.heard.put(
            (message.topic, message.payload, message.qos, message.retain)
        )
        self.client.connect("127.0.0.1", port, keepalive=30)
        self.client.loop_start()
        self.code = self.connacks.get(timeout=20)

    def subscribe(self, *filters: tuple[str, int]) -> list[int]:
        self.client.subscribe(list(filters))
        return self.subacks.get(timeout=20)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> bool:
        """Whether the broker acknowledged it in time."""
        info = self.client.publish(topic, payload, qos, retain)
        info.wait_for_publish(20)
        return bool(info.is_published())

    def hear(self) -> tuple[str, bytes, int, bool]:
        return self.heard.get(timeout=20)

    def vanish(self) -> None:
        """Be gone without a DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Site:
    """The example's processes."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.port, self.http_port = free_port(), free_port()
        self.environment = {
            "MQTT_REDIS_URL": f"{redis.tcp_url}",
            "MQTT_DATABASE": str(folder / "db.sqlite3"),
        }
        self.processes: list[Process] = []
        self.devices: list[Device] = []
        self.manage("migrate", "--verbosity", "0")
        for name in ("lamp", "door"):
            self.manage("add_device", name, "secret")

    def manage(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": SOURCES, **self.environment},
            check=True,
            timeout=60,
        )

    def start(self, name: str, *words: str) -> Process:
        self.processes.append(Process([sys.executable, *words], self.environment, PROJECT, name))
        return self.processes[-1]

    def start_bridge(self) -> Process:
        endpoint = f"tcp:{self.port}:interface=127.0.0.1"
        bridge = self.start("bridge", "-m", "mqtt_bridge", "mqtt_layer:layer", endpoint)
        bridge.wait_for("Listening on mqtt")
        return bridge

    def start_worker(self) -> Process:
        worker = self.start("worker", "manage.py", "runworker")
        worker.wait_for("Taking from")
        return worker

    def device(self, name: str, **how: str) -> Device:
        self.devices.append(Device(self.port, name, **how))
        return self.devices[-1]

    def close(self) -> None:
        for device in self.devices:
            device.close()
        for process in self.processes:
            if process.popen.poll() is None:
                process.end(seconds=40)
            sys.stderr.write(f"--- {process.name}\n{process.output()[-4000:]}\n")
            process.log.close()


@pytest.fixture
def site(tmp_path: Path, private_redis_server: RedisServer) -> Iterator[Site]:
    this = Site(tmp_path, private_redis_server)
    try:
        yield this
    finally:
        this.close()


def test_devices_are_let_in_speak_and_hear(site: Site) -> None:
    bridge = site.start_bridge()
    site.start_worker()
    assert site.device("lamp", password="guess").code == "Bad user name or password"
    lamp = site.device("lamp")
    assert lamp.code == "Success"
    assert lamp.subscribe(("lamp/#", 2), ("door/#", 0)) == [1, 128]
    assert lamp.publish("lamp/brightness", b"80", retain=True)
    assert lamp.hear() == ("lamp/brightness", b"80", 1, False)
    assert lamp.publish("door/lock", b"open")
    site.manage("publish", "lamp/switch", "on")
    assert lamp.hear() == ("lamp/switch", b"on", 1, False)
    assert lamp.publish("lamp/large", bytes(200_000), qos=0)
    assert lamp.hear() == ("lamp/large", bytes(200_000), 0, False)
    lamp.close()
    again = site.device("lamp")
    assert again.subscribe(("lamp/+", 1)) == [1]
    assert again.hear() == ("lamp/brightness", b"80", 1, True)
    assert bridge.end() == 0
    assert "Traceback" not in bridge.output()


def test_pages_hear_of_devices_and_of_their_wills(site: Site) -> None:
    site.start_bridge()
    site.start_worker()
    interface = ["-m", "headrace_interface", "--layer", "mqtt_layer:layer", "-p", str(site.http_port)]
    site.start("interface", *interface).wait_for("Listening on")
    url = f"ws://127.0.0.1:{site.http_port}/readings/socket/"
    with connect(url, origin=f"http://127.0.0.1:{site.http_port}", proxy=None) as page:  # type: ignore[arg-type]
        # Its group is joined once the connect was handled, which the accept alone does not say.
        door = site.device("door", will="door/state")

        def heard() -> Any:
            door.publish("door/lock", b"open", qos=0)
            said = json.loads(page.recv(timeout=2))
            return said if "topic" in said else None

        assert eventually(heard) == {"topic": "door/lock", "payload": "open"}
        door.vanish()
        said = list[Any]()
        while {"device": "door", "here": False} not in said:
            said.append(json.loads(page.recv(timeout=20)))
        assert {"topic": "door/state", "payload": "gone"} in said


def test_what_was_acknowledged_survives_a_worker_that_is_killed(site: Site) -> None:
    site.start_bridge()
    worker = site.start_worker()
    lamp = site.device("lamp")
    lamp.subscribe(("lamp/#", 1))
    os.kill(worker.pid, signal.SIGKILL)
    worker.popen.wait(10)
    for number in range(20):
        assert lamp.publish(f"lamp/{number}", b"%d" % number)
    site.start_worker()
    assert {lamp.hear()[0] for _ in range(20)} == {f"lamp/{number}" for number in range(20)}


def test_a_redis_that_goes_and_comes_back_loses_nothing_that_was_acknowledged_later(
    site: Site, private_redis_server: RedisServer
) -> None:
    bridge = site.start_bridge()
    site.start_worker()
    lamp = site.device("lamp")
    lamp.subscribe(("lamp/#", 1))
    private_redis_server.kill()
    bridge.wait_for("cannot be reached")
    info = lamp.client.publish("lamp/held", b"x", 1)
    private_redis_server.start()
    info.wait_for_publish(20)
    assert info.is_published()
    assert lamp.hear()[:2] == ("lamp/held", b"x")
