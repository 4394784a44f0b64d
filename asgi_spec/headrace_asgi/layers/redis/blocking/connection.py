"""One blocking connection to one Redis: opened by redis-py (TLS, ACL, unix sockets), used as bare RESP2.

redis-py's own `read_response` cannot wait for two descriptors and costs as much as Redis itself, so after the
handshake its socket is read by hiredis directly.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import hiredis
import redis
from redis.connection import ConnectionPool

from headrace_asgi.errors import ConfigurationError, LayerUnavailable

from ..address import parse_address
from ..plan.clock import RedisClock
from ..plan.resp import pack
from ..plan.scripts import SCRIPTS
from ..plan.server_info import ServerInfo, facts_of
from .silence import ANSWER_SECONDS, SilenceTimeout

__all__ = ["LinkBroken", "RedisAddress", "RedisSocket", "loads"]

READ_BYTES = 65536
#: What a user of an ACL must be allowed to do.
ACL = "+@read +@write +@blocking +@scripting +@connection +client|kill +client|unblock +info +time"


def loads() -> bytes:
    """The commands that load every script."""
    return b"".join(pack((b"SCRIPT", b"LOAD", one.source)) for one in SCRIPTS)


class LinkBroken(LayerUnavailable):
    """The connection ended before an answer. `written` says whether Redis may have seen the command."""

    def __init__(self, text: str, written: bool = True) -> None:
        super().__init__(text)
        self.written = written


class RedisAddress:
    """Where a Redis is and how to log in, from a URL; makes connections."""

    def __init__(self, url: str, connection_kwargs: Mapping[str, Any] | None = None) -> None:
        """Check the URL and redis-py's connection options without connecting. Raises ConfigurationError."""
        self.address = parse_address(url)
        self.unix = self.address.path is not None
        #: The address without password, for log lines.
        self.label = self.address.label
        self._connection_class, self._kwargs = self._options(url, connection_kwargs or {})

    def _options(self, url: str, extra: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
        options: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
        if not self.unix:
            options["socket_keepalive"] = True
        try:
            pool = ConnectionPool.from_url(url, **{**options, **extra})
            # Our reader speaks RESP2 only, whatever the default of the installed redis-py is.
            kwargs = {**pool.connection_kwargs, "protocol": 2}
            pool.connection_class(**kwargs)
        except (TypeError, ValueError, redis.RedisError) as error:
            raise ConfigurationError(
                f"the Redis URL or the connection_kwargs for {self.label} have a wrong option: {error}"
            ) from None
        return pool.connection_class, kwargs

    def open(self) -> Any:
        """A connected, authenticated redis-py connection. Raises ConfigurationError or LayerUnavailable."""
        connection = self._connection_class(**self._kwargs)
        try:
            connection.connect()
        except redis.BusyLoadingError:
            raise LayerUnavailable(f"Redis at {self.label} is loading its data") from None
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise self.refused_login(str(error)) from None
        except redis.ResponseError as error:
            hint = ""
            if "DB index" in str(error):
                hint = "; the number at the end of the URL must be that of a database this server has"
            raise ConfigurationError(f"Redis at {self.label} refused the connection: {error}{hint}") from None
        except (redis.RedisError, OSError) as error:
            raise LayerUnavailable(f"Redis at {self.label} cannot be reached: {error}") from None
        return connection

    def refused_login(self, reason: str) -> ConfigurationError:
        """The error for a wrong or missing password."""
        return ConfigurationError(
            f"Redis at {self.label} refused the login ({reason}); "
            "check user and password in the URL, redis://user:password@host:port/db"
        )


class RedisSocket:
    """A connection that can be opened again. Not thread-safe."""

    __slots__ = (
        "_before",
        "_connection",
        "_poll",
        "_reader",
        "_sock",
        "_tls",
        "address",
        "client_id",
        "clock",
    )

    def __init__(self, address: RedisAddress, clock: RedisClock) -> None:
        self.address = address
        self.clock = clock
        #: What Redis calls this connection; 0 if it does not say.
        self.client_id = 0
        # (run id of the server, our client id there) of the connection before this one
        self._before: tuple[str, int] | None = None
        self._connection: Any = None
        self._sock: socket.socket | None = None
        self._tls = False

    @property
    def is_open(self) -> bool:
        return self._sock is not None

    def fileno(self) -> int:
        """The descriptor to poll; ask `next_answer` first, an answer may be here already."""
        assert self._sock is not None
        return self._sock.fileno()

    def open(self) -> None:
        """Connect, check the server, load the scripts and read its clock.

        Ends the connection before this one, so that nothing it still had to do runs late. Blocks for up to
        some seconds. Raises LayerUnavailable, or ConfigurationError for a Redis that cannot serve.
        """
        self._connection = self.address.open()
        self._sock = cast(socket.socket, self._connection._sock)
        self._sock.setblocking(False)
        self._tls = isinstance(self._sock, ssl.SSLSocket)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._reader = hiredis.Reader()
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        self.write(pack((b"INFO", b"server")) + pack((b"CLIENT", b"ID")) + pack((b"TIME",)) + loads())
        info_text, client_id, now = (self.read() for _ in range(3))
        loaded = [self.read() for _ in SCRIPTS]
        facts = facts_of(info_text)
        self._check(info_text, facts, (now, *loaded))
        self.clock.sample_answer(now)
        self.client_id = client_id if isinstance(client_id, int) else 0
        run_id = facts.run_id
        # Client ids start again with the server: only the same run knows ours.
        if self._before is not None and run_id and self._before[0] == run_id:
            self.write(pack((b"CLIENT", b"KILL", b"ID", self._before[1])))
            self.read()
        self._before = (run_id, self.client_id) if self.client_id else None

    def _check(self, info_text: Any, facts: ServerInfo, answers: Sequence[Any]) -> None:
        for answer in (info_text, *answers):
            text = str(answer) if isinstance(answer, hiredis.ReplyError) else ""
            if text.startswith(("NOAUTH", "WRONGPASS")):
                raise self.address.refused_login(text)
            if text.startswith(("LOADING", "MASTERDOWN", "BUSY")):
                raise LayerUnavailable(f"Redis at {self.address.label} is not ready: {text}")
        if facts.too_old:
            raise ConfigurationError(
                f"Redis at {self.address.label} is version {facts.version}; "
                "Headrace needs Redis 7.0 or Valkey 7.2"
            )
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError):
                raise ConfigurationError(
                    f"Redis at {self.address.label} refused a command that Headrace needs ({answer}); "
                    f"a user of an ACL needs: {ACL}"
                )

    def close(self) -> None:
        """Close the connection; `open` opens the next one."""
        connection, self._connection, self._sock = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.disconnect()

    def lost_its_peer(self) -> bool:
        """Whether an idle connection was closed by the other side. Costs one system call."""
        return bool(self._poll.poll(0))

    def write(self, data: bytes) -> None:
        """Send bytes, waiting while the socket is full. Raises LinkBroken."""
        sent = 0
        rest: bytes | memoryview = data
        while True:
            try:
                assert self._sock is not None
                sent += self._sock.send(rest)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._wait_to_write()
            except OSError as error:
                raise self._broken(str(error), written=sent > 0) from None
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]

    def _wait_to_write(self) -> None:
        ready = select.poll()
        ready.register(self.fileno(), select.POLLOUT)
        if not ready.poll(ANSWER_SECONDS * 1000):
            raise self._broken("it takes no more commands")

    def next_answer(self) -> Any:
        """An answer that was received already, else False (a value that RESP2 does not have)."""
        return self._reader.gets()

    def receive(self) -> None:
        """Take in what has arrived. Does not block. Raises LinkBroken."""
        assert self._sock is not None
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            raise self._broken(str(error)) from None
        if not data:
            raise self._broken("it closed the connection")
        self._reader.feed(data)

    def has_buffered_tls(self) -> bool:
        """Whether decrypted bytes wait that no poll would report."""
        return self._tls and cast(ssl.SSLSocket, self._sock).pending() > 0

    def read(self, timeout_seconds: float = ANSWER_SECONDS, silence: SilenceTimeout | None = None) -> Any:
        """The next answer; an error answer is returned, not raised. Raises LinkBroken.

        Waits for `timeout_seconds`, and then for as long as `patience` says.
        """
        answer = self._reader.gets()
        if answer is not False:
            return answer
        deadline = time.monotonic() + timeout_seconds
        while True:
            if not self.has_buffered_tls():
                left = deadline - time.monotonic()
                if left <= 0 or not self._poll.poll(left * 1000):
                    more_seconds = 0.0 if silence is None else silence.more_seconds()
                    if not more_seconds:
                        raise self._broken(f"no answer within {timeout_seconds:g} s")
                    deadline = time.monotonic() + more_seconds
                    continue
            self.receive()
            answer = self._reader.gets()
            if answer is not False:
                return answer

    def _broken(self, reason: str, written: bool = True) -> LinkBroken:
        self.close()
        return LinkBroken(f"the connection to Redis at {self.address.label} broke: {reason}", written)
