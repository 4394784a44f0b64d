"""Datagrams as messages, as the UDP draft of ASGI 0.x has them: the worked example of a `Bridge`."""
