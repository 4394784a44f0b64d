"""What sentinels are asked, what their answers mean, and which of several is asked. Pure.

A sentinel says where the primary of a service is. It may be wrong for a while: what it names is let in only
if its handshake shows that it is none of the replicas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headrace_asgi.errors import LayerRefused, LayerUnavailable

from ..address import Sentinels, ServerAddress
from .command import Argument
from .faults import SETTING
from .resp import ReplyError
from .search import ServerSearch

__all__ = [
    "FAILED_LOOK_SECONDS",
    "LOOK_SECONDS",
    "SENTINEL_ACL",
    "PrimarySearch",
    "SentinelQuestion",
]

#: Who uses a primary asks so often whether it still is the one: a former one may take commands for ten
#: seconds after a failover that people asked for, and keeps nothing of them.
LOOK_SECONDS = 1.0
#: And so long after no sentinel answered, as who blocks waits for each of them.
FAILED_LOOK_SECONDS = 10.0
#: What a user of an ACL of the sentinels must be allowed to do.
SENTINEL_ACL = "+sentinel|get-master-addr-by-name +sentinel|masters"

_Heard = Callable[[Any], "tuple[Argument, ...] | None"]
_MASTERS: tuple[Argument, ...] = (b"SENTINEL", b"MASTERS")


class SentinelQuestion:
    """Asks one sentinel for the primary of a service.

    Send `commands` in one write and give each answer to `heard`, in order, with what that wants to be sent
    further, until it `is_over`: then host and port are known.
    """

    __slots__ = ("_awaited", "_label", "_names", "asked", "commands", "host", "port", "service")

    def __init__(self, asked: ServerAddress, service: str) -> None:
        """Take whom to ask, with its login; `service` is empty for the only one it watches."""
        self.asked = asked
        self._label = f"Sentinel at {asked.label}"
        #: What the service is called, as far as that is known.
        self.service = service
        #: What the services are called that it watches, once it was asked for them.
        self._names: list[str] = []
        self.host, self.port = "", 0
        self._awaited: list[_Heard] = []
        self.commands: list[tuple[Argument, ...]] = []
        if asked.login:
            self.commands.append(asked.login)
            self._awaited.append(self._heard_login)
        self.commands.append(self._ask_where() if service else self._ask_names())

    @property
    def is_over(self) -> bool:
        """Whether host and port are known."""
        return bool(self.port)

    def heard(self, answer: Any) -> tuple[Argument, ...] | None:
        """Take the next answer; the command to send now, if there is one.

        Raises LayerRefused for what only a change of settings can mend, LayerUnavailable for what makes no
        sense. Then another sentinel is to be asked.
        """
        heard = self._awaited.pop(0)
        if isinstance(answer, ReplyError):
            raise self._refused(answer)
        return heard(answer)

    def _refused(self, answer: ReplyError) -> LayerUnavailable:
        said = str(answer)
        lower = said.lower()
        if "without any password" in lower:
            return LayerRefused(
                f"{self._label} refused the login ({said}); it has no password: leave it out of "
                f"sentinel_kwargs (sentinel_password in a URL) in {SETTING}"
            )
        if said.startswith(("NOAUTH", "WRONGPASS")):
            return LayerRefused(
                f"{self._label} refused the login ({said}); check username and password in sentinel_kwargs "
                f"(sentinel_username and sentinel_password in a URL) in {SETTING}"
            )
        if said.startswith("NOPERM"):
            return LayerRefused(
                f"{self._label} refused to say where Redis is ({said}); "
                f"a user of its ACL needs: {SENTINEL_ACL}"
            )
        if "unknown command" in lower:
            return LayerRefused(
                f"what answers at {self.asked.label} is no Sentinel ({said}); correct host and port of "
                f"the Sentinels in {SETTING}, or name this Redis itself as redis://host:port/0"
            )
        return LayerUnavailable(f"{self._label} does not say where Redis is: {said}")

    def _heard_login(self, answer: Any) -> None:
        """An error is told by `heard`."""

    def _ask_where(self) -> tuple[Argument, ...]:
        self._awaited.append(self._heard_where)
        return (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self.service)

    def _ask_names(self) -> tuple[Argument, ...]:
        self._awaited.append(self._heard_names)
        return _MASTERS

    def _heard_where(self, answer: Any) -> tuple[Argument, ...] | None:
        if answer is None:
            if self._names:
                raise LayerUnavailable(f"{self._label} does not know any more where {self.service!r} is")
            return self._ask_names()
        try:
            host, port = answer
            self.host, self.port = host.decode(), int(port)
        except (TypeError, ValueError, AttributeError):
            raise self._senseless(answer) from None
        return None

    def _heard_names(self, answer: Any) -> tuple[Argument, ...] | None:
        try:
            watched = [dict(zip(one[::2], one[1::2], strict=True)) for one in answer]
            # In an order that is the same for every process, whatever that of the sentinel is.
            self._names = sorted(one[b"name"].decode() for one in watched)
        except (TypeError, ValueError, LookupError, AttributeError):
            raise self._senseless(answer) from None
        knows = f"{self._label} watches {', '.join(map(repr, self._names)) or 'no Redis'}"
        setting = f"master_name, services, or the name in the URL, in {SETTING}"
        if self.service:
            raise LayerRefused(f"{knows}, and not {self.service!r}; correct {setting}")
        if not self._names:
            raise LayerRefused(f"{knows}; it needs a line `sentinel monitor` for one")
        if len(self._names) > 1:
            raise LayerRefused(f"{knows}; say which is meant: {setting}")
        (self.service,) = self._names
        return self._ask_where()

    def _senseless(self, answer: Any) -> LayerUnavailable:
        return LayerUnavailable(f"{self._label} gave an answer that means nothing: {answer!r:.100}")


class PrimarySearch(ServerSearch):
    """Which sentinels to ask, one after the other, until one has named the primary."""

    nobody = "no Sentinel says where Redis is"
    look_seconds = LOOK_SECONDS
    failed_look_seconds = FAILED_LOOK_SECONDS

    def __init__(self, address: ServerAddress, sentinels: Sentinels, first: int = 0) -> None:
        """Take what is searched, and the number of the sentinel to ask first."""
        super().__init__(sentinels.addresses, first)
        self._address = address
        self._service = sentinels.service

    def question(self, asked: ServerAddress) -> SentinelQuestion:
        return SentinelQuestion(asked, self._service)

    def found(self, question: SentinelQuestion) -> ServerAddress:
        """The primary that a sentinel has named."""
        return replace(
            self._address,
            host=question.host,
            port=question.port,
            sentinels=None,
            primary_of=question.service,
        )
