"""An interface server becomes its next image while clients talk through it: they notice only a pause."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support.stack import PROJECT, SOURCES, Process, Stack

#: Upgrades in a row, sockets that talk, and seconds between two upgrades.
UPGRADES, SOCKETS, BETWEEN_SECONDS = 5, 60, 0.7
#: Most seconds that an answer may take, on a machine with much else to do.
PAUSE_SECONDS = 10.0


class Talk:
    """One socket: numbered frames go out as the answers to those before come in."""

    def __init__(self) -> None:
        self.sent = self.answered = 0
        self.waits: list[float] = []
        self.heard: list[int] = []

    async def run(self, socket: ClientConnection, enough: asyncio.Event) -> None:
        """Talk until it is enough; the answers must come in order, each once."""
        while not enough.is_set():
            began = time.monotonic()
            await socket.send(json.dumps({"n": self.sent}))
            self.sent += 1
            answer = json.loads(await asyncio.wait_for(socket.recv(), 20))
            self.waits.append(time.monotonic() - began)
            assert answer == {"n": self.answered}, answer
            self.answered += 1
            await asyncio.sleep(0.01)


async def listen(socket: ClientConnection, heard: list[int]) -> None:
    async for message in socket:
        heard.append(json.loads(message)["n"])


async def requests(port: int, enough: asyncio.Event) -> int:
    """Request after request on connections that are kept for some requests each; how many were answered."""
    answered = 0
    while not enough.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(20):
            writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert await reader.readexactly(13) == b"Hello, world!"
            answered += 1
            await asyncio.sleep(0.005)
        writer.close()
    return answered


async def slow_request(port: int, milliseconds: int) -> bytes:
    """A request that is under way for long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /slow/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % milliseconds)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


async def upgrades(process: Process) -> None:
    for number in range(UPGRADES):
        await asyncio.sleep(BETWEEN_SECONDS)
        os.kill(process.pid, signal.SIGUSR2)
        while process.output().count("Went on from") <= number:
            assert process.popen.poll() is None, process.output()
            await asyncio.sleep(0.02)


async def all_of_it(stack: Stack, process: Process) -> dict[str, Any]:
    url, enough = f"ws://127.0.0.1:{stack.port}", asyncio.Event()
    talks = [Talk() for _ in range(SOCKETS)]
    sockets = [await connect(f"{url}/ws/echo", proxy=None) for _ in talks]
    rooms = [await connect(f"{url}/ws/room", proxy=None) for _ in range(10)]
    heard: list[list[int]] = [[] for _ in rooms]
    tasks = [
        asyncio.ensure_future(talk.run(*pair, enough)) for talk, *pair in zip(talks, sockets, strict=True)
    ]
    listening = [asyncio.ensure_future(listen(*pair)) for pair in zip(rooms, heard, strict=True)]
    asking = asyncio.ensure_future(requests(stack.port, enough))
    slow = [asyncio.ensure_future(slow_request(stack.port, 2500)) for _ in range(2)]

    async def broadcasts() -> int:
        number = 0
        while not enough.is_set():
            await rooms[0].send(json.dumps({"n": number}))
            number += 1
            await asyncio.sleep(0.02)
        return number

    saying = asyncio.ensure_future(broadcasts())
    await upgrades(process)
    await asyncio.sleep(1)
    enough.set()
    await asyncio.gather(*tasks)
    said = await saying
    for _ in range(100):
        if all(len(each) == said for each in heard):
            break
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(*slow)
    for task in listening:
        task.cancel()
    for each in (*sockets, *rooms):
        await each.close()
    return {
        "talks": talks,
        "heard": heard,
        "said": said,
        "slow": answers,
        "answered": await asking,
    }


def test_who_is_connected_notices_nothing_but_a_pause(redis_url: str) -> None:
    with Stack.over(redis_url) as stack:
        stack.worker(processes=2, threads=4)
        process = stack.interface()
        pid = process.pid
        found = asyncio.run(all_of_it(stack, process))
        assert process.pid == pid
        waits = sorted(wait for talk in found["talks"] for wait in talk.waits)
        print(f"{len(waits)} answers, longest wait {waits[-1]:.3f} s, {found['answered']} requests")  # noqa: T201
        assert waits[-1] < PAUSE_SECONDS
        assert all(talk.answered == talk.sent for talk in found["talks"])
        assert all(sorted(heard) == list(range(found["said"])) for heard in found["heard"])
        assert all(b"slept" in answer for answer in found["slow"]), found["slow"]
        assert "Traceback" not in process.output()


def test_a_socket_that_a_supervisor_opened_is_listened_on_by_the_next_image(redis_url: str) -> None:
    with Stack.over(redis_url) as stack, socket.create_server(("127.0.0.1", 0)) as listening:
        stack.worker()
        url, _, query = redis_url.partition("?")
        arguments = [
            sys.executable,
            "-m",
            "headrace_interface",
            "--layer",
            f"{url}?{query}",
            "--no-access-log",
        ]
        arguments += ["--fd", str(listening.fileno())]
        process = Process(arguments, {}, PROJECT, "interface", (listening.fileno(),))
        stack.processes.append(process)
        process.wait_for("Listening on")
        port = listening.getsockname()[1]

        async def talk() -> None:
            async with connect(f"ws://127.0.0.1:{port}/ws/echo", proxy=None) as client:
                for number in range(3):
                    await client.send(json.dumps({"n": number}))
                    assert json.loads(await asyncio.wait_for(client.recv(), 20)) == {"n": number}
                    asked = await asyncio.to_thread(
                        subprocess.run,
                        [sys.executable, "-m", "headrace_interface", "--upgrade", str(process.pid)],
                        env={**os.environ, "PYTHONPATH": SOURCES},
                        check=False,
                    )
                    assert asked.returncode == 0, process.output()
            assert b"slept" in await slow_request(port, 1)

        asyncio.run(talk())
        assert "Traceback" not in process.output()
        assert process.end() == 0
