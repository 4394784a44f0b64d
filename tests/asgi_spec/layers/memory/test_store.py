"""What the memory layer holds, bare: time is a number."""

from __future__ import annotations

import random

import pytest

from headrace_asgi.contract import OpenSocket, Outcome
from headrace_asgi.envelope import decode, pack_message, unpack_message
from headrace_asgi.layers.memory.store import Store, TakenMessage
from headrace_asgi.limits import MAILBOX_CAPACITY, PROCESS_QUEUE_CAPACITY, Capacities
from headrace_asgi.names import local_part

PROCESS = "hr1.0.abc!"
SOCKET = PROCESS + "client"
CHANNELS = ["websocket.connect", "websocket.receive", "websocket.disconnect"]
LEASE_MS = 9_000


@pytest.fixture
def store() -> Store:
    store = Store(Capacities(5), expiry_ms=6_000, group_expiry_ms=20_000, lease_ms=LEASE_MS)
    store.register(PROCESS)
    return store


def packed(order: int = 0) -> bytes:
    return pack_message({"reply_channel": SOCKET, "order": order})


def orders(taken: list[TakenMessage]) -> list[int | None]:
    return [one.entry.order for one in taken]


def test_a_connect_registers_and_a_repeated_one_is_a_duplicate(store: Store) -> None:
    assert store.connect(SOCKET, "/", packed(), 0) is Outcome.SENT
    assert store.connect(SOCKET, "/", packed(), 0) is Outcome.DUPLICATE
    assert store.pending("websocket.connect") == 1


def test_a_refused_connect_registers_nothing(store: Store) -> None:
    for number in range(5):
        store.connect(f"{PROCESS}{number}", "/", packed(), 0)
    assert store.connect(SOCKET, "/", packed(), 0) is Outcome.FULL
    assert store.disconnect(SOCKET, packed(), 1, 0) is Outcome.TOLD
    assert store.connect("hr1.0.other!client", "/", packed(), 0) is Outcome.GONE


def test_a_frame_of_a_socket_that_is_not_registered_is_gone(store: Store) -> None:
    assert store.frame(SOCKET, packed(), 1, 0) is Outcome.GONE


def test_a_disconnect_is_told_exactly_once(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    assert store.disconnect(SOCKET, packed(), 1, 0) is Outcome.BOXED
    assert store.disconnect(SOCKET, packed(), 1, 0) is Outcome.TOLD
    assert store.frame(SOCKET, packed(), 1, 0) is Outcome.GONE


def test_a_disconnect_is_never_refused_and_never_expires(store: Store) -> None:
    for number in range(8):
        socket = f"{PROCESS}{number}"
        store.capacities.default = 8
        store.connect(socket, "/", packed(), 0)
        store.capacities.default = 5
        store.finish(socket, 0, False, 0)
        assert store.disconnect(socket, packed(), 1, 0) is Outcome.SENT
    assert len(store.take(["websocket.disconnect"], 20, 10**12)) == 8


def test_a_full_mailbox_refuses_frames_but_not_the_disconnect(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    for order in range(1, MAILBOX_CAPACITY + 1):
        assert store.frame(SOCKET, packed(order), order, 0) is Outcome.BOXED
    assert store.frame(SOCKET, packed(), MAILBOX_CAPACITY + 1, 0) is Outcome.FULL
    assert store.disconnect(SOCKET, packed(), MAILBOX_CAPACITY + 1, 0) is Outcome.BOXED


def test_a_full_channel_refuses_a_frame_that_goes_out_at_once_and_takes_no_slot(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    store.finish(SOCKET, 0, False, 0)
    for _ in range(5):
        store.send("websocket.receive", packed(), 0)
    assert store.frame(SOCKET, packed(), 1, 0) is Outcome.FULL
    store.take(["websocket.receive"], 5, 0)
    assert store.frame(SOCKET, packed(), 1, 0) is Outcome.SENT


def test_a_moved_message_has_its_full_time_again(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    store.frame(SOCKET, packed(1), 1, 0)
    store.take(CHANNELS, 1, 5_000)
    store.finish(SOCKET, 0, False, 5_900)
    assert orders(store.take(CHANNELS, 1, 11_000)) == [1]


def test_a_frame_behind_a_lapsed_lease_is_refused_whatever_waits(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    assert orders(store.take(CHANNELS, 1, 0)) == [0]
    store.frame(SOCKET, packed(1), 1, 0)
    assert store.frame(SOCKET, packed(2), 2, LEASE_MS) is Outcome.LAPSED
    assert store.finish(SOCKET, 0, False, LEASE_MS) is Outcome.STALE
    assert store.disconnect(SOCKET, packed(2), 2, LEASE_MS) is Outcome.BOXED
    assert orders(store.take(CHANNELS, 1, LEASE_MS)) == [1]


def test_a_take_tells_the_process_of_a_lapsed_lease_and_moves_the_mailbox_on(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    store.frame(SOCKET, packed(1), 1, 0)
    store.take(CHANNELS, 1, 0)
    assert store.take(CHANNELS, 1, LEASE_MS - 1) == []
    assert store.take_all(PROCESS) == []
    assert orders(store.take(CHANNELS, 1, LEASE_MS)) == [1]
    (note,) = store.take_all(PROCESS)
    assert unpack_message(decode(note).payload) == {"control": "lapsed", "local": "client"}


def test_what_waits_in_a_mailbox_counts_as_sent_when_it_is_put_on_its_channel(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    store.frame(SOCKET, packed(1), 1, 0)
    assert store.counted("websocket.receive")["sent"] == 0
    store.finish(SOCKET, 0, False, 0)
    counted = store.counted("websocket.receive")
    assert (counted["sent"], counted["pending"]) == (1, 1)


def test_the_mailbox_of_a_connect_that_nobody_saw_is_dropped_and_counted(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    for order in (1, 2):
        store.frame(SOCKET, packed(order), order, 0)
    store.disconnect(SOCKET, packed(3), 3, 0)
    assert store.take(CHANNELS, 1, 6_000) == []
    dropped = [store.counted(channel)["dropped"] for channel in CHANNELS]
    assert dropped == [0, 2, 1]
    assert store.counted("websocket.connect")["expired"] == 1


def test_nothing_is_remembered_of_a_socket_that_ended(store: Store) -> None:
    for ended in ("told", "forgotten", "withdrawn"):
        store.connect(SOCKET, "/", packed(), 0)
        store.take(CHANNELS, 1, 0)
        store.finish(SOCKET, 0, False, 0)
        if ended == "told":
            store.disconnect(SOCKET, packed(1), 1, 0)
            store.take(CHANNELS, 1, 0)
            store.finish(SOCKET, 1, False, 0)
        elif ended == "forgotten":
            store.forget(SOCKET)
        else:
            store.withdraw(PROCESS)
        assert store.frame(SOCKET, packed(2), 2, 0) is Outcome.GONE
        assert not store._idle


def test_control_entries_ignore_the_capacity_of_a_process_queue(store: Store) -> None:
    for _ in range(PROCESS_QUEUE_CAPACITY):
        assert store.push(SOCKET, b"entry") is Outcome.SENT
    assert store.push(SOCKET, b"entry") is Outcome.FULL
    assert store.push(SOCKET, b"entry", is_control=True) is Outcome.SENT


def test_channels_with_random_parts_leave_nothing_behind(store: Store) -> None:
    for number in range(100):
        channel = f"http.request.body?{number}"
        store.send(channel, packed(), 0)
        store.take([channel], 1, 0)
        assert set(store.counted(channel).values()) == {0}


def test_each_of_several_busy_channels_has_its_turn(store: Store) -> None:
    names = ["a", "b", "c"]
    served = []
    for _ in range(9):
        for name in names:
            store.send(name, packed(), 0)
        served += [one.channel for one in store.take(names, 1, 0)]
    assert all(served.count(name) == 3 for name in names)


@pytest.mark.seeds(20)
def test_messages_of_a_socket_start_in_order_whatever_happens(store: Store, seed: int) -> None:
    """Random finishes, lapses, give-backs and expiries: no message starts before its predecessor started."""
    chance = random.Random(seed)
    now, sent, sockets = 0, 0, [SOCKET]
    started: dict[str, list[int]] = {SOCKET: [-1]}
    held: list[tuple[str, TakenMessage]] = []
    store.connect(SOCKET, "/", packed(0), now)
    for _ in range(400):
        now += chance.choice((0, 1, 2_000))
        step = chance.randrange(5)
        if step == 0:
            sent += 1
            payload = pack_message({"reply_channel": sockets[-1]})
            if store.frame(sockets[-1], payload, sent, now) not in (Outcome.SENT, Outcome.BOXED):
                # As at the interface, the socket ends; another one comes.
                store.disconnect(sockets[-1], payload, sent, now)
                sent = 0
                sockets.append(f"{PROCESS}{len(sockets)}")
                started[sockets[-1]] = [-1]
                store.connect(sockets[-1], "/", pack_message({"reply_channel": sockets[-1]}), now)
        elif step in (1, 2):
            for one in store.take(CHANNELS, 1, now):
                socket, order = unpack_message(one.entry.payload)["reply_channel"], one.entry.order
                assert order is not None
                assert order >= started[socket][-1]
                started[socket].append(order)
                held.append((socket, one))
        elif held:
            socket, one = held.pop(chance.randrange(len(held)))
            order = one.entry.order
            assert order is not None
            if step == 3:
                store.finish(socket, order, False, now)
            elif store.renew(socket, order, now):
                store.put_back(one.channel, one.raw)
    assert sum(len(each) - 1 for each in started.values()) > 10


def test_a_connect_lives_as_long_as_its_sender_says_but_no_longer_than_its_lease(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0, expiry_ms=50)
    assert store.take(["websocket.connect"], 1, 50) == []
    store.connect(f"{PROCESS}later", "/", packed(), 0, expiry_ms=10**9)
    assert store.take(["websocket.connect"], 1, LEASE_MS) == []


def test_a_process_that_registers_again_keeps_what_is_known_of_its_sockets(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    store.frame(SOCKET, packed(1), 1, 0)
    store.register(PROCESS, [OpenSocket(local_part(SOCKET), "/", 0), OpenSocket("other", "/", 4)])
    assert store.frame(SOCKET, packed(1), 1, 0) is Outcome.DUPLICATE
    assert store.frame(PROCESS + "other", packed(4), 4, 0) is Outcome.DUPLICATE
    assert store.frame(PROCESS + "other", packed(5), 5, 0) is Outcome.SENT


def test_a_store_that_lost_its_data_knows_no_process(store: Store) -> None:
    store.connect(SOCKET, "/", packed(), 0)
    store.lose_data()
    assert store.frame(SOCKET, packed(1), 1, 0) is Outcome.GONE
    assert store.send(SOCKET, packed(), 0) is Outcome.GONE
    assert store.level("websocket.connect") == (0, 0)
