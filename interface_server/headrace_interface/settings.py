"""What an interface server was told: the options, checked and in the types the code wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from .deadlines import Deadlines
from .files.mounts import Mount

__all__ = ["FrameRate", "InterfaceSettings", "Network"]

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class FrameRate:
    """How many frames of a kind a connection of HTTP/2 may bring: at once, and in the long run."""

    burst: int
    per_second: float


@dataclass(frozen=True, slots=True)
class InterfaceSettings:
    """Everything that connections ask about. Sizes are in bytes; 0 means without a limit where it says so."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    root_path: str = ""
    server_name: bytes = b"headrace"
    #: Whether clients are told what the log is told: for development only.
    debug: bool = False

    #: Bytes of a request's head; llhttp has no limit of its own. Browsers send under 16 KiB.
    max_head_bytes: int = 64 * 1024
    max_headers: int = 100
    max_target_bytes: int = 16 * 1024
    #: Bytes of a request's body; 0 is without a limit.
    max_body_bytes: int = 100 * 1024 * 1024
    #: Bodies up to here travel inside the request's message.
    inline_body_bytes: int = 256 * 1024
    #: Whether larger ones are passed on as they arrive: then a slow sender holds a worker.
    stream_uploads: bool = False
    #: Bytes of one body that wait in memory; the rest goes to a temporary file.
    spool_memory_bytes: int = 1024 * 1024
    #: Bytes of all bodies that wait in memory: to be whole, to be sent, for the layer. Beyond, they go to
    #: temporary files; while the layer is away further requests with a body get 503.
    max_bodies_memory_bytes: int = 64 * 1024 * 1024
    #: Bytes of all bodies in temporary files: twenty of the largest. Beyond, they get 503: if all were only
    #: held up, none would ever be whole.
    max_bodies_disk_bytes: int = 2 * 1024 * 1024 * 1024
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

    #: Whether TLS clients are offered HTTP/2; and whether trusted proxies may begin with it without TLS.
    http2: bool = False
    http2_prior_knowledge: bool = False
    #: Requests of one connection at the same time; more are refused before anything is done for them.
    http2_streams: int = 100
    #: Bytes of a request's body that may be on their way while nobody takes them; each stream has a window.
    http2_window_bytes: int = 256 * 1024
    #: Frames that say nothing about content, before the connection ends with ENHANCE_YOUR_CALM. Twice a page
    #: full of requests may be given up at once, and 20 requests a second (CVE-2023-44487).
    http2_resets: FrameRate = FrameRate(200, 20)
    #: Clients ping in seconds, and some to measure while they receive.
    http2_pings: FrameRate = FrameRate(50, 10)
    #: Settings are said once, and hardly ever changed; each is acknowledged.
    http2_settings: FrameRate = FrameRate(20, 1)
    #: Priorities, and frames of kinds that are not known here: browsers send one or two for each request.
    http2_priorities: FrameRate = FrameRate(500, 100)
    #: Frames without content that do not end anything: nobody needs them.
    http2_empty_frames: FrameRate = FrameRate(50, 5)
    #: Frames with so little content that they cost more than what they carry; not those of WebSockets, which
    #: have limits of their own.
    http2_small_frames: FrameRate = FrameRate(2000, 1000)
    #: Frames for streams that are over, each answered with a reset: what was on its way when an upload was
    #: refused.
    http2_late_frames: FrameRate = FrameRate(2000, 200)
    #: On top of those that are earned by reading: four for each frame of content.
    http2_window_updates: FrameRate = FrameRate(1000, 100)
    #: Streams that were reset for what the client did wrong, or refused: a client that opens too many before
    #: it has read our settings may do so once.
    http2_faults: FrameRate = FrameRate(200, 10)

    #: Bytes of a WebSocket message and of a frame, after inflation; 0 is without a limit.
    max_websocket_message_bytes: int = 1024 * 1024
    max_websocket_frame_bytes: int = 1024 * 1024
    #: WebSockets of this process, opening ones included; more get 503. 0 is without a limit.
    max_websockets: int = 0
    #: Messages a second that one client may send; it is held up beyond that. 0 is without a limit.
    max_websocket_rate: float = 0
    #: What one client may have said that the layer has yet to accept, in messages and in bytes (content, path
    #: and 256 for each); then it is not read. One read of the socket is 64 KiB.
    max_unanswered_messages: int = 64
    max_unanswered_bytes: int = 64 * 1024
    #: Messages and bytes of one WebSocket that may wait for a worker: a worker takes 20 at most at a time,
    #: and 60 such sockets do not fill a channel. A larger message may wait alone. 0 is without a limit, here
    #: and for the next ones in bytes.
    share_messages: int = 16
    share_bytes: int = 1024 * 1024
    #: The same for all sockets of one address, as a part of the channel's capacity and in bytes. Beyond, only
    #: those that said less than the average are served: an office behind one address goes on.
    address_share: float = 0.25
    address_share_bytes: int = 8 * 1024 * 1024
    #: The same for this whole process: there are other processes, and the layer has one memory for all.
    process_share: float = 0.5
    process_share_bytes: int = 32 * 1024 * 1024
    #: Handshakes of one address that wait for the application, and clients that left something unsaid: more
    #: handshakes get 503, so that one that reconnects without end does not fill the channel for all. 0 is
    #: without a limit.
    max_address_handshakes: int = 100
    #: Bytes a second that one WebSocket may say in messages of 16 KiB and more, after inflation; it is held
    #: up beyond that. A megabyte costs this process 20 ms on its way to a worker and back, and a kilobyte can
    #: hold one. 0 is without a limit.
    max_websocket_bytes_per_second: int = 4 * 1024 * 1024
    #: Pings, pongs and empty fragments a second that one client may send: they carry nothing, and real
    #: clients send one in some seconds. It is held up beyond that, and closed when it is 10 s ahead or
    #: goes on so for 10 s. 0 is without a limit.
    max_control_rate: float = 100
    #: Whether an offer of permessage-deflate is taken up.
    websocket_compression: bool = True
    #: Subprotocols the server chooses from when the application does not choose.
    websocket_protocols: tuple[str, ...] = ()

    #: Whether headers of a trusted peer are believed about its client.
    proxy_headers: bool = False
    #: Which: `Forwarded`, or else `X-Forwarded-*`. Never both: the one that a proxy does not set itself it
    #: may pass on from its client.
    forwarded: bool = False
    #: Names in lower case. A root path is believed only where one is named: proxies pass on what they do not
    #: know.
    client_header: bytes = b"x-forwarded-for"
    port_header: bytes = b"x-forwarded-port"
    root_path_header: bytes = b""
    #: Whether each connection begins with a header of the PROXY protocol, and comes from a trusted peer.
    proxy_protocol: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    trust_unix: bool = True
    #: Folders whose files are sent without asking a worker.
    static: tuple[Mount, ...] = ()
    #: Folders whose files a view may name in `X-Accel-Redirect`, and the one for `X-Sendfile`. Where nothing
    #: is set up, the header is passed on.
    internal: tuple[Mount, ...] = ()
    sendfile_root: str | None = None
    #: New requests that wait for the layer at the same time; more get 503 at once.
    max_held: int = 1000

    @property
    def folders(self) -> tuple[tuple[str, str], ...]:
        """(option, folder) of every folder whose files are sent."""
        return (
            *(("--static", mount.folder) for mount in self.static),
            *(("--internal", mount.folder) for mount in self.internal),
            *(() if self.sendfile_root is None else (("--sendfile-root", self.sendfile_root),)),
        )
