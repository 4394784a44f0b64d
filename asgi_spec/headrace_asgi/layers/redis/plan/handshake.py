"""What is said first over a connection to Redis, and what the answers mean. Pure.

We log in, choose the database, learn who answers, load the scripts, and end what our previous connection left
there: commands that were not read yet must not run late, and a take that still blocks must not pop into the
void (docs/protocol.md, section 3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from headrace_asgi.errors import LayerRefused, LayerUnavailable

from ..address import ServerAddress
from .command import Argument
from .faults import SETTING
from .outcomes import ACL, IN_CLUSTER, NO_REPLICA, Reaction, login_refused, reaction_to
from .resp import ReplyError
from .scripts import SCRIPTS
from .server_info import ServerInfo, facts_of

__all__ = ["Handshake", "Identity", "SlotMoves"]

_Heard = Callable[[Any], None]
#: How Redis ends a connection at once, without a code of its own.
_TOO_MANY = "ERR max number of clients"
#: A kind of key that is never written.
_NEVER = "open"


class Identity(NamedTuple):
    """A connection as its server calls it: numbers begin anew with each `run_id`."""

    run_id: str
    client_id: int


class SlotMoves(LayerUnavailable):
    """A node of a Cluster does not serve the slot of a bucket now: it moves, or has moved just now."""


class Handshake:
    """The handshake of one connection.

    Send `commands` in one write and give each answer to `heard`, in order, with what that wants to be sent
    further, until it `is_over`. Nothing else may be sent before.
    """

    __slots__ = (
        "_awaited",
        "_before",
        "_bucket",
        "_found",
        "_label",
        "_server",
        "client_id",
        "commands",
        "time",
    )

    def __init__(self, address: ServerAddress, name: str, before: Identity | None) -> None:
        """Take where and as whom we log in, what CLIENT LIST shall show, and the connection to be ended."""
        self._label = address.label
        #: Whether others said where this server is, and that it is no replica.
        self._found = address.is_found
        self._bucket = address.bucket
        self._before = before
        self._server = ServerInfo()
        #: What Redis calls this connection; 0 if it does not say.
        self.client_id = 0
        #: Its answer to TIME.
        self.time: Any = None
        steps: list[tuple[tuple[Argument, ...], _Heard]] = []
        if address.login:
            steps.append((address.login, self._heard_login))
        if address.db:
            steps.append(((b"SELECT", address.db), self._heard_database))
        steps += [
            ((b"INFO",), self._heard_info),
            ((b"CLIENT", b"ID"), self._heard_client_id),
            ((b"TIME",), self._heard_time),
            *(((b"SCRIPT", b"LOAD", one.source), self._heard_needed) for one in SCRIPTS),
        ]
        if address.bucket is not None:
            # Of a key that never is there: nothing but a node that has the slot, whole, answers that.
            steps.append(((b"EXISTS", address.bucket.key_start + _NEVER), self._heard_needed))
        steps.append(((b"CLIENT", b"SETNAME", name), self._heard_wanted))
        self.commands = [command for command, _ in steps]
        self._awaited: deque[_Heard] = deque(heard for _, heard in steps)

    @property
    def is_over(self) -> bool:
        """Whether we are let in and commands can be sent."""
        return not self._awaited

    @property
    def has_heard(self) -> bool:
        """Whether the server has said anything."""
        return len(self._awaited) < len(self.commands)

    @property
    def is_replica(self) -> bool:
        """Whether the server takes no messages, as it repeats what another one says."""
        return self._server.role == "slave"

    @property
    def identity(self) -> Identity | None:
        """This connection, for the handshake of the one after it; None if Redis does not say."""
        run_id = self._server.run_id
        return Identity(run_id, self.client_id) if run_id and self.client_id else None

    @property
    def advice(self) -> str:
        """What people should change of this Redis although it serves; empty if there is nothing."""
        if self.is_replica:
            return f"Redis at {self._label} {NO_REPLICA}"
        if self._server.policy in ("", "noeviction"):
            return ""
        return (
            f"Redis at {self._label} has maxmemory-policy {self._server.policy}: it may delete messages and "
            "groups when memory is short; set it to noeviction"
        )

    def heard(self, answer: Any) -> tuple[Argument, ...] | None:
        """Take the next answer; the command to send now, if there is one.

        Raises LayerRefused for what only a change of settings can mend, ours or those of the server, and
        LayerUnavailable for a Redis that is not ready. Then the connection is to be closed.
        """
        heard = self._awaited.popleft()
        if isinstance(answer, ReplyError):
            self._examine(answer)
        heard(answer)
        before = self._before
        if self._awaited or before is None:
            return None
        self._before = None
        if before.run_id != self._server.run_id:
            return None
        self._awaited.append(self._heard_wanted)
        return (b"CLIENT", b"KILL", b"ID", before.client_id)

    def _examine(self, answer: ReplyError) -> None:
        """Raise for an error that is none of the command it answers."""
        said = str(answer)
        if said.startswith(("NOAUTH", "WRONGPASS")):
            raise login_refused(self._label, answer)
        if said.startswith(_TOO_MANY) or reaction_to(answer) in (Reaction.HOLD, Reaction.LEAVE):
            kind = LayerUnavailable if self._bucket is None else SlotMoves
            raise kind(f"Redis at {self._label} is not ready: {said}")
        if said.startswith("DENIED"):
            raise LayerRefused(
                f"Redis at {self._label} refused the connection: {said}; "
                f"set a password in Redis and in {SETTING}, or see bind and protected-mode in Redis"
            )

    def _heard_login(self, answer: Any) -> None:
        if isinstance(answer, ReplyError):
            raise login_refused(self._label, answer)

    def _heard_database(self, answer: Any) -> None:
        if isinstance(answer, ReplyError):
            raise LayerRefused(
                f"Redis at {self._label} refused the connection: {answer}; "
                f"the db in {SETTING} (the number at the end of the URL) "
                "must be that of a database this server has"
            )

    def _heard_info(self, answer: Any) -> None:
        self._server = facts_of(answer)
        if self._server.too_old:
            raise LayerRefused(
                f"Redis at {self._label} is version {self._server.version}; "
                f"Headrace needs Redis 7.0 or Valkey 7.2: upgrade it, or name another in {SETTING}"
            )
        if self._server.mode == "sentinel":
            raise LayerRefused(
                f"Redis at {self._label} is a Sentinel; in {SETTING} write it as one, with what it calls the "
                "primary: redis+sentinel://host:port/mymaster/0"
            )
        if self._server.mode == "cluster" and self._bucket is None:
            raise LayerRefused(f"Redis at {self._label} {IN_CLUSTER}")
        if self.is_replica and self._found:
            who = "its Sentinels are" if self._bucket is None else "its Cluster is"
            raise LayerUnavailable(
                f"Redis at {self._label} is a replica, as while it fails over; {who} asked again"
            )

    def _heard_client_id(self, answer: Any) -> None:
        self.client_id = answer if isinstance(answer, int) else 0

    def _heard_time(self, answer: Any) -> None:
        self._heard_needed(answer)
        self.time = answer

    def _heard_needed(self, answer: Any) -> None:
        if isinstance(answer, ReplyError):
            raise LayerRefused(
                f"Redis at {self._label} refused a command that Headrace needs ({answer}); "
                f"a user of an ACL needs: {ACL}"
            )

    def _heard_wanted(self, answer: Any) -> None:
        """Without it we know or tell less, and work."""
