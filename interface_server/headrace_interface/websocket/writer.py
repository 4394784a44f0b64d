"""Frames to one client: written at once while it keeps up, else behind those that wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..direct_send import DirectTransport, direct_transport_of, unsent_bytes
from .frame_buffer import FrameBuffer
from .frames import encode_pong

if TYPE_CHECKING:
    from .frame_buffer import SlowSockets

__all__ = ["FrameWriter", "WriterOwner"]


class WriterOwner(Protocol):
    """Who hears how the client reads: a socket's shell."""

    def too_slow(self) -> None:
        """The client reads too slowly; expected to `drop` what waits and to close it."""

    def falls_behind(self) -> None:
        """Half of what may wait for the client does."""

    def caught_up(self) -> None:
        """Nothing waits for the client any more."""


class FrameWriter:
    """The way to one client. Nothing blocks or raises."""

    __slots__ = ("_buffer", "_direct_transport", "_owner", "_sockets", "_transport")

    def __init__(self, transport: Any, sockets: SlowSockets, owner: WriterOwner) -> None:
        """`sockets` are those of this process whose clients have yet to read."""
        self._transport = transport
        # A transport that is not ours is taken for one that never waits.
        self._direct_transport: Any = direct_transport_of(transport) or DirectTransport()
        #: Frames that wait for the client; None while it keeps up.
        self._buffer: FrameBuffer | None = None
        self._sockets = sockets
        self._owner: WriterOwner | None = owner

    def take_over(self, protocol: Any) -> None:
        """The transport's bytes are for this protocol now: with no wrapper between, the one before can go."""
        self._direct_transport.when_drained = None
        if self._direct_transport is self._transport:
            self._direct_transport.protocol = protocol

    @property
    def keeps_up(self) -> bool:
        """Whether nothing waits for the client."""
        return self._buffer is None

    @property
    def waiting_bytes(self) -> int:
        """What the client has yet to read, without the kernel's part."""
        return 0 if self._buffer is None else self._buffer.waiting_bytes

    def write(self, frame: bytes) -> None:
        """Write a frame, behind those that wait."""
        if self._buffer is None and not self._direct_transport.backlogged:
            self._transport.write(frame)
        else:
            self._waiting().write(frame)

    def pong(self, payloads: Sequence[bytes]) -> None:
        """Answer pings, in the order of their coming; of a client that has yet to read only the last one."""
        if self._buffer is None and not self._direct_transport.backlogged:
            self._transport.write(b"".join(map(encode_pong, payloads)))
        else:
            self._waiting().pong(encode_pong(payloads[-1]))

    def unsent(self) -> bytes | None:
        """What the client has yet to be sent; None if the transport does not say."""
        return unsent_bytes(self._transport, b"" if self._buffer is None else self._buffer.queued())

    def drop(self) -> None:
        """Forget what waits, but for what the transport has."""
        if self._buffer is not None:
            self._buffer.drop()

    def release(self) -> None:
        """The connection is about to be closed: what waits is the transport's."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.release()

    def end(self) -> None:
        """The connection is gone."""
        self._stop()
        self._owner = None

    def _waiting(self) -> FrameBuffer:
        if self._buffer is None:
            self._buffer = FrameBuffer(
                self._transport, self._sockets, self._too_slow, self._falls_behind, self._caught_up
            )
        return self._buffer

    def _stop(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.stop()

    def _too_slow(self) -> None:
        if self._owner is not None and self._buffer is not None:
            self._owner.too_slow()

    def _falls_behind(self) -> None:
        if self._owner is not None:
            self._owner.falls_behind()

    def _caught_up(self) -> None:
        self._stop()
        if self._owner is not None:
            self._owner.caught_up()
