"""The interface server: HTTP and WebSocket clients on one side, messages of the channel layer on the other.

No Django and no user code runs here. `server` puts the parts together, `http.protocol` and
`websocket.protocol` are the shells around sockets, `http.exchange` and `websocket.exchange` decide.
"""

from __future__ import annotations

from headrace_asgi import __version__

__all__ = ["__version__"]
