"""A server that answers bytes a test chose: for answers that a real Redis cannot be made to give."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

from hiredis import Reader

__all__ = ["LETS_IN", "FakeRedis", "naming"]


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


#: What it answers to a handshake, by the first words of the command, unless it is told otherwise.
LETS_IN: Mapping[bytes, bytes] = {
    b"AUTH": b"+OK\r\n",
    b"SELECT": b"+OK\r\n",
    b"INFO": _bulk(b"redis_version:7.2.4\r\nrun_id:abc\r\nmaxmemory_policy:noeviction\r\n"),
    b"CLIENT ID": b":1\r\n",
    b"CLIENT SETNAME": b"+OK\r\n",
    b"CLIENT KILL": b":0\r\n",
    b"TIME": b"*2\r\n" + _bulk(b"1700000000") + _bulk(b"0"),
    b"SCRIPT": _bulk(b"0" * 40),
}


class FakeRedis:
    """Listens on the loopback interface; `with` ends it.

    `script` answers, one after the other, what is no part of a handshake; the last answer again and again.
    None ends the connection. `greeting` answers parts of the handshake differently, and ends it after those
    that stand in `last`.
    """

    def __init__(
        self,
        script: Sequence[bytes | None] = (),
        greeting: Mapping[bytes, bytes] | None = None,
        last: Sequence[bytes] = (),
    ) -> None:
        self._script = list(script)
        self._greeting = {**LETS_IN, **(greeting or {})}
        self._last = last
        #: The first words of what was asked beside the handshake.
        self.asked: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> FakeRedis:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for peer in self._peers:
            _end(peer)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        reader = Reader()
        try:
            while data := peer.recv(65536):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    answer = self._answer(command)
                    if answer is not None:
                        peer.sendall(answer)
                    if answer is None or command[0] in self._last:
                        return
        except OSError:
            pass
        finally:
            _end(peer)
            peer.close()

    def _answer(self, command: list[bytes]) -> bytes | None:
        for words in (command[0], b" ".join(command[:2])):
            if words in self._greeting:
                return self._greeting[words]
        self.asked.append(command[0])
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]


def _end(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)


def naming(*ports: int) -> FakeRedis:
    """A sentinel that names one port after the other, and the last one for ever."""
    answers = [b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port) for port in ports]
    return FakeRedis(script=answers)
