"""The wall clock of both tiers jumps by an hour and back: nothing expires, no socket is lost."""

from __future__ import annotations

import email.utils
import http.client
import threading
import time
from pathlib import Path

from tests.support.stack import ROOT, SOURCES, Stack, eventually
from tests.support.wsclient import open_socket, receive_json, send_json

HOUR = 3600
SOCKETS = 10


HOOK = ROOT / "tests" / "support" / "jumping_clock"


class WallClock:
    """The wall clock of the processes that are started with `env`; their monotonic clock goes on as it is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "seconds"
        self.jump(0)
        self.env = {"JUMPING_CLOCK": str(self._file), "PYTHONPATH": f"{HOOK}:{SOURCES}"}

    def jump(self, seconds: int) -> None:
        """Be so far from the right time, from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


def get(port: int, path: str) -> tuple[int, float]:
    """The status of an answer, and how far its date is from ours in seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    said = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
    return answer.status, said - time.time()


def test_an_hour_forth_or_back_expires_nothing_and_costs_no_socket_rt24(
    redis_url: str, tmp_path: Path
) -> None:
    wall_clock = WallClock(tmp_path)
    with Stack.over(redis_url) as stack:
        stack.env |= wall_clock.env
        interface, worker = stack.interface(), stack.worker(threads=4)
        paths = ("/ws/echo", "/ws/numbered")
        sockets = [open_socket(stack.port, paths[number % 2]) for number in range(SOCKETS)]
        answers: list[tuple[int, float]] = []

        def ask(path: str) -> None:
            answers.append(get(stack.port, path))

        for jump in (HOUR, -HOUR):
            worker.end()
            waiting = [
                threading.Thread(target=lambda: answers.append(get(stack.port, "/slow/200")))
                for _ in range(5)
            ]
            for client in waiting:
                client.start()
            for socket in sockets:
                send_json(socket, {"n": jump})
            time.sleep(0.5)  # all of it waits in its channel, with the time until which it may
            wall_clock.jump(jump)
            worker = stack.worker(threads=4)
            began = time.mktime(time.strptime(worker.output()[:19], "%Y-%m-%d %H:%M:%S"))
            assert round((began - time.time()) / HOUR) == jump // HOUR, "the clock of the worker did not jump"
            for client in waiting:
                client.join(30)
            assert [receive_json(socket)["n"] for socket in sockets] == [jump] * SOCKETS
            assert [status for status, _ in answers] == [200] * 5
            assert [round(off / HOUR) for _, off in answers] == [jump // HOUR] * 5, "the clock did not jump"
            answers.clear()
            # Again with what runs and with processes that have both seen the other time.
            running = threading.Thread(target=ask, args=("/slow/1000",))
            running.start()
            time.sleep(0.3)
            wall_clock.jump(-jump)
            running.join(30)
            assert [status for status, _ in answers] == [200]
            answers.clear()
            for socket in sockets:
                send_json(socket, {"n": "after"})
            assert [receive_json(socket)["n"] for socket in sockets] == ["after"] * SOCKETS
            wall_clock.jump(jump)
        time.sleep(1)  # heartbeats and deadlines have had their say
        for socket in sockets:
            send_json(socket, {"n": "last"})
        assert [receive_json(socket)["n"] for socket in sockets] == ["last"] * SOCKETS
        eventually(lambda: get(stack.port, "/hello")[0] == 200)
        for socket in sockets:
            socket.close()
        for process in (interface, worker):
            for word in ("expired", "is dead", "lost its data", "ERROR"):
                assert word not in process.output()
