"""What the application said to a WebSocket: a checked message as the actions it asks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_asgi import messages
from headrace_asgi.close_codes import NORMAL, SERVER_ERROR, may_be_sent
from headrace_asgi.envelope import Message

from .actions import Accept, Close, Deny
from .handshake import Offer, accept_problem

__all__ = ["Reply", "read_reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One message on a socket's reply channel.

    `acceptance`, `denial` and `problem` are what it means for a handshake, at most one of them is given;
    `payload` and `close` what it means for an open socket. `remark` is for the log: what the application did
    wrong.
    """

    accept: bool | None = None
    payload: str | bytes | None = None
    close: Close | None = None
    acceptance: Accept | None = None
    denial: Deny | None = None
    problem: Deny | None = None
    remark: str = ""


def read_reply(message: Message, offer: Offer | None, protocols: tuple[str, ...] = ()) -> Reply:
    """Take a message apart. `offer` is the client's while its handshake is open, else None.

    `protocols` are those the server chooses from when the application leaves the choice to it. Raises
    BadMessage, and the socket stays as it is.
    """
    code, remark = _close_code(message)
    if remark:
        message = {**message, "close": True}
    said = messages.WEBSOCKET_SEND.check(message)
    payload = said["text"] if said["text"] is not None and not said["bytes"] else said["bytes"]
    accept: bool | None = said["accept"]
    close = Close(code, said["reason"]) if code else None
    if offer is None:
        return Reply(accept, payload, close, remark=remark)
    if accept is False or (accept is None and payload is None and close):
        denial = Deny(said["status"], "Access denied.", said["headers"], said["content"])
        return Reply(accept, denial=denial, remark=remark)
    if accept is None and payload is None:
        return Reply(remark=remark)
    subprotocol: str | None = said["subprotocol"]
    if subprotocol is None:
        subprotocol = next((name for name in offer.subprotocols if name in protocols), None)
    wrong = accept_problem(offer, subprotocol, said["headers"])
    if wrong:
        problem = Deny(500, "The application answered the handshake wrongly.")
        return Reply(
            accept, problem=problem, remark=f"the application {wrong}; the handshake is answered 500"
        )
    return Reply(accept, payload, close, Accept(subprotocol, said["headers"]), remark=remark)


def _close_code(message: Message) -> tuple[int, str]:
    """The code to close with, or 0, and a remark if the application asked for one that may not be sent."""
    close = message.get("close", False) if isinstance(message, dict) else False
    if close is True:
        return NORMAL, ""
    if not close or not isinstance(close, int):
        return 0, ""
    if may_be_sent(close):
        return close, ""
    return SERVER_ERROR, (
        f"the application asked for the close code {close}, which may not be sent: "
        f"{SERVER_ERROR} is sent instead"
    )
