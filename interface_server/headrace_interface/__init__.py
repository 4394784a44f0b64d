"""The interface server: HTTP and WebSocket clients on one side, messages of the channel layer on the other.

No Django and no user code runs here. `server` puts the parts together, `http_protocol` and
`websocket_protocol` are the shells around sockets, `http_exchange` and `websocket_exchange` decide.
"""

from __future__ import annotations

from headrace_asgi import __version__

__all__ = ["__version__"]
