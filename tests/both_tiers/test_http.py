"""Requests, from the client's bytes through Django's views to the bytes of the answer."""

from __future__ import annotations

import json
from random import Random

import pytest

from headrace import route
from headrace.message import Message
from headrace_interface.settings import InterfaceSettings
from tests.support.both_tiers import HttpClient, TwoTiers

PIECES = [0, 1, 2, 7, 64]


@pytest.mark.parametrize("piece_bytes", PIECES)
@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/hello/", 200, b"Hello"),
        ("/stream/", 200, b"part 0;part 1;part 2;"),
        ("/fails/", 500, None),
        ("/nowhere/", 404, None),
        ("/hello", 301, b""),
    ],
)
def test_a_view_is_answered_however_the_request_is_cut(
    path: str, status: int, body: bytes | None, piece_bytes: int
) -> None:
    tiers = TwoTiers([])
    client = tiers.http()
    client.send(f"GET {path} HTTP/1.1\r\nHost: testserver\r\n\r\n".encode(), piece_bytes)
    tiers.run()
    (answer,) = client.answers
    assert answer.status == status
    assert body is None or answer.body == body
    assert not client.closed


@pytest.mark.parametrize("stream_uploads", [False, True])
@pytest.mark.parametrize("size", [1, 1000, 4095, 4096, 65_536, 262_143, 262_144, 262_145, 300_000])
def test_a_body_of_any_size_arrives_whole(size: int, stream_uploads: bool) -> None:
    tiers = TwoTiers(
        [route("http.request", count_bytes)], settings=InterfaceSettings(stream_uploads=stream_uploads)
    )
    if stream_uploads and size > 262_144:
        pytest.skip("a streamed body is waited for in real time")
    client = tiers.http()
    client.ask("/", body=bytes(size), Content_Type="application/octet-stream")
    tiers.until(lambda: client.answers)
    assert json.loads(client.answers[0].body) == size


def test_a_client_can_name_no_channel_st11() -> None:
    """Whatever it says: the channels of its message are those that the interface server chose."""
    heard: list[Message] = []

    def answer(message: Message) -> None:
        heard.append(message)
        message.reply_channel.send({"status": 200, "content": b"for me"})

    tiers = TwoTiers([route("http.request", answer)])
    victim, client = tiers.http(), tiers.http()
    name = "hr1.0.feed!victim"
    client.ask(
        f"/?reply_channel={name}&body_channel={name}",
        body=json.dumps({"reply_channel": name, "body_channel": name}).encode(),
        Reply_Channel=name,
        X_Reply_Channel=name,
        Content_Type="application/json",
    )
    tiers.until(lambda: client.answers)
    (message,) = heard
    assert client.answers[0].body == b"for me"
    assert message["reply_channel"].startswith("hr1.")
    assert not {key: value for key, value in message.items() if key.endswith("_channel") and value == name}
    assert victim.answers == []


def count_bytes(message: Message) -> None:
    from headrace.http.request import AsgiRequest

    size = len(AsgiRequest(message).body)
    message.reply_channel.send({"status": 200, "content": json.dumps(size).encode()})


def ran_twice(counts: dict[str, int]) -> list[str]:
    return [token for token, count in counts.items() if count > 1]


@pytest.mark.parametrize("seed", range(200))
def test_every_request_gets_its_own_answer_in_its_turn(seed: int) -> None:
    random = Random(seed)
    ran: dict[str, int] = {}

    def answer(message: Message) -> None:
        token = message["query_string"].decode()
        ran[token] = ran.get(token, 0) + 1
        body = message.get("body", b"")
        message.reply_channel.send({"status": 200, "content": token.encode() + b":" + body})

    tiers = TwoTiers([route("http.request", answer)], workers=random.randint(1, 3))
    clients = [tiers.http() for _ in range(random.randint(1, 4))]
    asked: dict[HttpClient, list[bytes]] = {client: [] for client in clients}
    for number in range(random.randint(3, 12)):
        client = random.choice(clients)
        body = random.choice([b"", b"x", random.randbytes(300)])
        client.ask(f"/?{seed}.{number}", body=body)
        asked[client].append(f"{seed}.{number}".encode() + b":" + body)
        tiers.shuffle(random, random.randint(0, 4))
    tiers.run()
    for client, expected in asked.items():
        assert [one.body for one in client.answers] == expected
    assert ran_twice(ran) == []
    assert len(tiers.server.context.connections) == 0


@pytest.mark.parametrize("seed", range(100))
def test_clients_that_leave_cost_nobody_an_answer(seed: int) -> None:
    random = Random(seed)
    tiers = TwoTiers([], workers=random.randint(1, 2))
    leavers, stayers = [], []
    for _ in range(random.randint(2, 6)):
        client = tiers.http()
        client.ask(random.choice(["/hello/", "/stream/"]))
        (leavers if random.random() < 0.5 else stayers).append(client)
        tiers.shuffle(random, random.randint(0, 3))
    for client in leavers:
        client.leave()
        tiers.shuffle(random, random.randint(0, 3))
    tiers.run()
    assert [client.answers[0].status for client in stayers] == [200] * len(stayers)
    assert len(tiers.server.context.connections) == 0


@pytest.mark.parametrize("over", range(1, 21))
def test_a_full_channel_is_answered_503_and_the_others_are_served(over: int) -> None:
    tiers = TwoTiers([], capacity=10)
    clients = [tiers.http() for _ in range(10 + over)]
    for client in clients:
        client.ask("/hello/")
    tiers.run()
    statuses = [client.answers[0].status for client in clients]
    assert (statuses.count(200), statuses.count(503)) == (10, over)


@pytest.mark.parametrize("seconds", [1, 5, 10, 29])
def test_a_request_waits_for_a_worker_until_its_deadline(seconds: int) -> None:
    tiers = TwoTiers([])
    client = tiers.http()
    client.ask("/hello/")
    for _ in range(seconds * 4):
        tiers.reactor.advance(0.25)
    assert client.answers == []
    for _ in range((31 - seconds) * 4):
        tiers.reactor.advance(0.25)
    assert client.answers[0].status == 503
    tiers.run()
    account = tiers.layer.statistics("http.request")
    assert (account["expired"], account["done"], account["failed"]) == (1, 0, 0)
