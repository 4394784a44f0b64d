"""One WebSocket, from its handshake to its end; and what all of them may put on the channel."""
