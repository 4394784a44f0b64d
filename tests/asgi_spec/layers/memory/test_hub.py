"""Waiting on the memory layer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from headrace_asgi.envelope import pack_message
from headrace_asgi.layers.memory.hub import Bell, Hub
from headrace_asgi.layers.memory.store import Store
from headrace_asgi.limits import Capacities


def new_hub() -> Hub:
    return Hub(Store(Capacities(10), 60_000, 60_000, 90_000), time.monotonic)


def send(hub: Hub, channel: str) -> None:
    with hub as store:
        store.send(channel, pack_message({}), 0)


def test_a_message_wakes_who_waits_for_its_channel_and_nobody_else() -> None:
    hub = new_hub()
    concerned: Bell = SimpleQueue()
    bystander: Bell = SimpleQueue()
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(hub.take, ["one"], 1, 5, concerned)
        other = pool.submit(hub.take, ["two"], 1, 0.3, bystander)
        time.sleep(0.1)
        send(hub, "one")
        assert [taken.channel for taken, _ in waiting.result()] == ["one"]
        assert other.result() == []
    assert bystander.empty()


def test_one_message_goes_to_one_of_many_who_wait() -> None:
    hub = new_hub()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(hub.take, ["one"], 1, 0.4) for _ in range(4)]
        time.sleep(0.1)
        send(hub, "one")
        assert sorted(len(one.result()) for one in waiting) == [0, 0, 0, 1]


def test_a_bell_that_was_rung_before_the_wait_does_not_end_it() -> None:
    hub = new_hub()
    bell: Bell = SimpleQueue()
    bell.put(None)
    started = time.monotonic()
    assert hub.take(["one"], 1, 0.1, bell) == []
    assert time.monotonic() - started > 0.09


def test_who_says_woken_and_rings_ends_the_wait() -> None:
    hub = new_hub()
    bell: Bell = SimpleQueue()
    woken: list[bool] = []
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        waiting = pool.submit(hub.take, ["one"], 1, 5, bell, lambda: bool(woken))
        time.sleep(0.05)
        woken.append(True)
        bell.put(None)
        assert waiting.result() == []
        assert time.monotonic() - started < 3


def test_an_error_inside_leaves_the_lock_free() -> None:
    hub = new_hub()
    try:
        with hub:
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with ThreadPoolExecutor(1) as pool:
        pool.submit(send, hub, "one").result(timeout=5)


def test_who_listens_for_a_process_is_rung_while_something_waits_for_it_or_it_is_unknown() -> None:
    hub = new_hub()
    rung: list[None] = []
    process = "hr1.0.a!"
    with hub as store:
        store.register(process)
    hub.listen(process, lambda: rung.append(None))
    send(hub, "elsewhere")
    assert rung == []
    send(hub, process + "client")
    assert rung == [None]
    with hub as store:
        store.take_all(process)
    assert rung == [None]
    with hub as store:
        store.lose_data()
    assert rung == [None, None]
    hub.stop_listening(process)
    hub.stop_listening(process)
    send(hub, "elsewhere")
    assert rung == [None, None]
