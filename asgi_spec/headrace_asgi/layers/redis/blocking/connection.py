"""One blocking connection to one Redis. redis-py opens its socket (TLS, unix sockets), the rest is ours."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

from headrace_asgi.errors import ConfigurationError, LayerUnavailable

from ..address import ServerAddress, keepalive_options, parse_address
from ..plan.clock import RedisClock
from ..plan.faults import Fault, connect_error, fault_of
from ..plan.handshake import Handshake, Identity
from ..plan.outcomes import connection_lost
from ..plan.resp import NOTHING, ProtocolError, Reader, pack
from ..redis_py import SocketOpener, url_options
from .silence import ANSWER_SECONDS, SilenceTimeout

__all__ = ["ConnectionBroken", "RedisAddress", "RedisConnection", "RespConnection", "Whereabouts"]

READ_BYTES = 65536
#: What CLIENT LIST shows, unless the option `client_name` says something else.
CLIENT_NAME = "headrace"


class ConnectionBroken(LayerUnavailable):
    """The connection ended before an answer. `written` says whether Redis may have seen the command."""

    def __init__(self, label: str, why: str, written: bool = True, fault: Fault = Fault.OTHER) -> None:
        """`fault` is what it means if Redis had not said anything before."""
        super().__init__(f"the connection to Redis at {label} broke: {why}")
        self._label = label
        self.why = why
        self.written = written
        self.fault = fault

    def outcome(self, written: bool) -> LayerUnavailable:
        """What became of a command, by whether it may have been written."""
        return connection_lost(self._label, self.why, written)


class RedisAddress:
    """Where a Redis is and how to log in, from a URL; opens sockets to it."""

    #: Whether the Redis of a place may be somewhere else later; then `has_left` is to be asked.
    may_move = False

    def __init__(
        self, url: str, connection_kwargs: Mapping[str, Any] | None = None, found: ServerAddress | None = None
    ) -> None:
        """Check the URL and redis-py's connection options without connecting. Raises ConfigurationError.

        `found` says where this Redis is, in place of the URL.
        """
        self.address = found or parse_address(url, connection_kwargs, all_options=True)
        #: The address without password, for log lines.
        self.label = self.address.label
        try:
            self._opener = SocketOpener(self._options(url_options(url, connection_kwargs)))
        except ValueError as error:
            raise ConfigurationError(
                f"hosts or connection_kwargs have an option for {self.label} that cannot work: {error}"
            ) from None

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What redis-py is given: what stands in the address as it is understood there."""
        address = self.address
        options = {"socket_timeout": ANSWER_SECONDS, **given, "db": address.db}
        options["socket_connect_timeout"] = address.connect_timeout_seconds
        if address.path is None:
            keep_alive = {"socket_keepalive": True, "socket_keepalive_options": keepalive_options()}
            options = {**keep_alive, **options, "host": address.host, "port": address.port}
            options.pop("path", None)
        return options

    def find(self) -> RedisAddress:
        """The server to connect to."""
        return self

    def doubt(self) -> None:
        """What `find` said last is no server that serves us: there is no other."""

    def has_left(self, server: RedisAddress) -> bool:
        """Whether the place is somewhere else by now: never."""
        return False

    def open(self) -> tuple[socket.socket, Callable[[], object]]:
        """A connected socket, and what closes it.

        Raises LayerUnavailable, LayerRefused for certificates that cannot be read.
        """
        try:
            return self._opener.open()
        except OSError as error:
            wrong = _unusable_certificates(self._opener.options) if self.address.tls else ""
            if wrong:
                raise connect_error(self.address, Fault.CERTIFICATES, wrong) from None
            raise connect_error(self.address, fault_of(error), str(error)) from None

    def handshake(self, before: Identity | None) -> Handshake:
        """What to say first over such a socket. Raises LayerUnavailable without credentials."""
        name = self._opener.options.get("client_name") or CLIENT_NAME
        return Handshake(self.login(), name, before)

    def login(self) -> ServerAddress:
        """The address, with the credentials of this moment. Raises LayerUnavailable if there are none."""
        provider = self._opener.options.get("credential_provider")
        if provider is None:
            return self.address
        try:
            *users, password = provider.get_credentials()
        except Exception as error:  # somebody else's code, which may ask a service that is away
            raise LayerUnavailable(f"there are no credentials for {self.label}: {error!r}") from error
        return replace(self.address, username=users[0] if users else None, password=password)


def _unusable_certificates(options: Mapping[str, Any]) -> str:
    """What is wrong with the certificates in redis-py's options; empty if nothing is."""
    authorities = options.get("ssl_ca_certs"), options.get("ssl_ca_data")
    own, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    context = ssl.create_default_context()
    try:
        if any(authorities):
            context.load_verify_locations(authorities[0], cadata=authorities[1])
        if own:
            context.load_cert_chain(own, key)
    except (OSError, ValueError) as error:
        return repr(error)
    return ""


class Whereabouts(Protocol):
    """Where the Redis of a place is: a RedisAddress, or what finds one."""

    may_move: bool
    address: ServerAddress
    label: str

    def find(self) -> RedisAddress:
        """The server to connect to. May block for some seconds. Raises LayerUnavailable."""

    def doubt(self) -> None:
        """What `find` said last is no server that serves us."""

    def has_left(self, server: RedisAddress) -> bool:
        """Whether the place is somewhere else by now. May block for some seconds."""


class RespConnection:
    """A connection that asks and hears, and can be opened again. Not thread-safe."""

    __slots__ = ("_close_socket", "_poll", "_reader", "_sock", "_tls", "label")

    def __init__(self, label: str) -> None:
        """`label` is what errors call the other side."""
        self.label = label
        self._close_socket: Callable[[], object] | None = None
        self._sock: socket.socket | None = None
        self._tls = False

    @property
    def is_open(self) -> bool:
        return self._sock is not None

    def fileno(self) -> int:
        """The descriptor to poll; ask `next_answer` first, an answer may be here already."""
        assert self._sock is not None
        return self._sock.fileno()

    def connect(self, server: RedisAddress) -> None:
        """Make the connection; nothing is said over it. Raises LayerUnavailable."""
        self._sock, self._close_socket = server.open()
        self._sock.setblocking(False)
        self._tls = isinstance(self._sock, ssl.SSLSocket)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._reader = Reader()

    def close(self) -> None:
        """Close the connection; it can be made again."""
        close, self._close_socket, self._sock = self._close_socket, None, None
        if close is not None:
            with contextlib.suppress(Exception):
                close()

    def lost_its_peer(self) -> bool:
        """Whether an idle connection was closed by the other side. Costs one system call."""
        return bool(self._poll.poll(0))

    def write(self, data: bytes) -> None:
        """Send bytes, waiting while the socket is full. Raises ConnectionBroken."""
        sent = 0
        rest: bytes | memoryview = data
        while True:
            try:
                assert self._sock is not None
                sent += self._sock.send(rest)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._wait_to_write()
            except OSError as error:
                raise self._broken(str(error), sent > 0, fault_of(error)) from None
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]

    def _wait_to_write(self) -> None:
        ready = select.poll()
        ready.register(self.fileno(), select.POLLOUT)
        if not ready.poll(ANSWER_SECONDS * 1000):
            raise self._broken("it takes no more commands", fault=Fault.SILENT)

    def next_answer(self) -> Any:
        """An answer that was received already, else NOTHING. Raises ConnectionBroken."""
        try:
            return self._reader.gets()
        except ProtocolError as error:
            raise self._no_redis(error) from None

    def receive(self) -> None:
        """Take in what has arrived. Does not block. Raises ConnectionBroken."""
        assert self._sock is not None
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            raise self._broken(str(error), fault=fault_of(error)) from None
        if not data:
            raise self._broken("it closed the connection", fault=Fault.CLOSED)
        self._reader.feed(data)

    def has_buffered_tls(self) -> bool:
        """Whether decrypted bytes wait that no poll would report."""
        return self._tls and cast(ssl.SSLSocket, self._sock).pending() > 0

    def read(self, timeout_seconds: float = ANSWER_SECONDS, silence: SilenceTimeout | None = None) -> Any:
        """The next answer; an error answer is returned, not raised. Raises ConnectionBroken.

        Waits for `timeout_seconds`, and then for as long as `silence` says.
        """
        try:
            answer = self._reader.gets()
            if answer is not NOTHING:
                return answer
            deadline = time.monotonic() + timeout_seconds
            while True:
                if not self.has_buffered_tls():
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._poll.poll(left * 1000):
                        more_seconds = 0.0 if silence is None else silence.more_seconds()
                        if not more_seconds:
                            raise self._broken(f"no answer within {timeout_seconds:g} s", fault=Fault.SILENT)
                        deadline = time.monotonic() + more_seconds
                        continue
                self.receive()
                answer = self._reader.gets()
                if answer is not NOTHING:
                    return answer
        except ProtocolError as error:
            raise self._no_redis(error) from None

    def _broken(self, reason: str, written: bool = True, fault: Fault = Fault.OTHER) -> ConnectionBroken:
        self.close()
        return ConnectionBroken(self.label, reason, written, fault)

    def _no_redis(self, error: ProtocolError) -> ConnectionBroken:
        return self._broken(f"it does not speak the Redis protocol: {error}", fault=Fault.NO_REDIS)


class RedisConnection(RespConnection):
    """A connection to the Redis of a place, which lets us in."""

    __slots__ = ("_before", "address", "advice", "client_id", "clock", "is_replica", "server")

    def __init__(self, address: Whereabouts, clock: RedisClock) -> None:
        super().__init__(address.label)
        self.address = address
        self.clock = clock
        #: What Redis calls this connection; 0 if it does not say.
        self.client_id = 0
        #: What its settings should be, if that is different; empty else.
        self.advice = ""
        #: Whether it leads to a replica, which takes no messages.
        self.is_replica = False
        # The connection before this one.
        self._before: Identity | None = None

    def open(self) -> None:
        """Connect and be let in, with the scripts loaded and its clock read.

        Ends the connection before this one, so that nothing it still had to do runs late. Blocks for up to
        some seconds. Raises LayerUnavailable, and LayerRefused for a Redis that cannot serve us.
        """
        #: The one it leads to.
        self.server = self.address.find()
        try:
            self.connect(self.server)
            self._greet()
        except BaseException:
            self.close()
            self.address.doubt()
            raise

    def _greet(self) -> None:
        handshake = self.server.handshake(self._before)
        try:
            self.write(b"".join(map(pack, handshake.commands)))
            while not handshake.is_over:
                further = handshake.heard(self.read())
                if further is not None:
                    self.write(pack(further))
        except ConnectionBroken as broken:
            if handshake.has_heard:
                raise
            raise connect_error(self.server.address, broken.fault, broken.why) from None
        self.clock.sample_answer(handshake.time)
        self.client_id = handshake.client_id
        self.advice = handshake.advice
        self.is_replica = handshake.is_replica
        self._before = handshake.identity
