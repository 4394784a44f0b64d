"""What an interface server was told: the options, checked and in the types the code wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from .deadlines import Deadlines

__all__ = ["Network", "Settings"]

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that connections ask about. Sizes are in bytes; 0 means without a limit where it says so."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    root_path: str = ""
    server_name: bytes = b"headrace"

    #: Bytes of a request's head; llhttp has no limit of its own. Browsers send under 16 KiB.
    max_head_bytes: int = 64 * 1024
    max_headers: int = 100
    max_target_bytes: int = 16 * 1024
    #: Bytes of a request's body; 0 is without a limit.
    max_body_bytes: int = 100 * 1024 * 1024
    #: Bodies up to here travel inside the request's message.
    inline_body_bytes: int = 256 * 1024
    #: Bytes of a streamed body that no worker has read yet.
    body_window_bytes: int = 1024 * 1024
    #: Bytes that may wait for a client while it takes its time; beyond, a WebSocket must take some within
    #: the deadline for slow clients and is closed at once at 16 times as many; a response gets a deadline.
    max_pending_bytes: int = 1024 * 1024
    #: Bytes of a streaming response that may wait for a slow client before it is aborted at once.
    max_response_backlog_bytes: int = 32 * 1024 * 1024
    #: Bytes of the responses of all slow clients together; beyond, each may have `max_pending_bytes` waiting.
    #: As many again may wait for all slow WebSockets; beyond, those with most are closed.
    max_backlog_bytes: int = 256 * 1024 * 1024
    #: Bytes that a client may send ahead: of its handshake's answer, or of the answer to its last request.
    max_early_bytes: int = 64 * 1024

    #: Bytes of a WebSocket message and of a frame, after inflation; 0 is without a limit.
    max_websocket_message_bytes: int = 1024 * 1024
    max_websocket_frame_bytes: int = 1024 * 1024
    #: WebSockets of this process, opening ones included; more get 503. 0 is without a limit.
    max_websockets: int = 0
    #: Messages a second that one client may send; it is held up beyond that. 0 is without a limit.
    max_websocket_rate: float = 0
    #: Pings, pongs and empty fragments a second that one client may send: they carry nothing, and real
    #: clients send one in some seconds. It is held up beyond that, and closed when it is 10 s ahead or
    #: goes on so for 10 s. 0 is without a limit.
    max_control_rate: float = 100
    #: Bytes of one client's messages (characters of text; and 256 for each) that the layer has yet to answer;
    #: then a pause.
    max_unanswered_bytes: int = 256 * 1024
    #: Whether an offer of permessage-deflate is taken up.
    websocket_compression: bool = True
    #: Subprotocols the server chooses from when the application does not choose.
    websocket_protocols: tuple[str, ...] = ()

    #: Whether `X-Forwarded-*` of a trusted peer are believed.
    proxy_headers: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    trust_unix: bool = True
    #: New requests that wait for the layer at the same time; more get 503 at once.
    max_held: int = 1000
