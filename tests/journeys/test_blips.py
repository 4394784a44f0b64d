"""Connections to Redis break while sockets speak: nobody is closed; every frame arrives once, in order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import redis
from websockets.asyncio.client import connect

from tests.support.stack import Stack

SOCKETS = 20
BLIPS = 5
BLIP_SECONDS = 0.8
#: Between two frames of a socket: the worker is to keep up.
PACE_SECONDS = 0.05


def break_connections(client: Any) -> int:
    """Kill the connections that the interface server speaks on; how many there were.

    Not the one that it hears on: what a take has popped into a connection that breaks is lost.
    """
    speaking = [each for each in client.client_list() if each["name"] == "headrace-interface-0"]
    for each in speaking:
        client.client_kill_filter(_id=each["id"])
    return len(speaking)


async def one_socket(port: int, path: str, over: asyncio.Event) -> tuple[int, list[int], int | None]:
    """Speak until it is over, then hear what is still due: frames sent, numbers heard, close code."""
    heard: list[int] = []
    sent = 0
    url = f"ws://127.0.0.1:{port}{path}"
    async with connect(url, compression=None, open_timeout=20, proxy=None) as socket:

        async def listen() -> None:
            async for message in socket:
                heard.append(json.loads(message)["n"])

        listener = asyncio.ensure_future(listen())
        while not over.is_set() and not listener.done():
            await socket.send(json.dumps({"n": sent}))
            sent += 1
            await asyncio.sleep(PACE_SECONDS)
        for _ in range(2_000):
            if len(heard) >= sent or listener.done():
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # for what comes twice
        code = socket.close_code
        listener.cancel()
    return sent, heard, code


async def speak_through_blips(port: int, client: Any) -> list[tuple[int, list[int], int | None]]:
    over = asyncio.Event()
    paths = ("/ws/raw", "/ws/numbered")
    sockets = [asyncio.ensure_future(one_socket(port, paths[n % 2], over)) for n in range(SOCKETS)]
    for _ in range(BLIPS):
        await asyncio.sleep(BLIP_SECONDS)
        assert await asyncio.to_thread(break_connections, client) == 1
    await asyncio.sleep(BLIP_SECONDS)
    over.set()
    return await asyncio.gather(*sockets)


def test_no_socket_is_closed_and_no_frame_lost_or_doubled_when_the_connections_to_redis_break(
    private_redis_server: Any,
) -> None:
    with Stack.over(private_redis_server.url) as stack:
        interface = stack.interface()
        stack.worker()
        client = redis.Redis.from_url(private_redis_server.url)
        results = asyncio.run(speak_through_blips(stack.port, client))
        client.close()
        assert interface.output().count("The channel layer is back") >= BLIPS
        assert [code for _, _, code in results] == [None] * SOCKETS
        for sent, heard, _ in results:
            assert sent > BLIPS * BLIP_SECONDS / PACE_SECONDS / 10
            assert heard == list(range(sent))
