"""What the nodes of a Redis Cluster are asked, and what their answers mean. Pure.

A node says which one has the slot of a bucket. It may be wrong for a while: the one it names is let in only
if its handshake shows that it serves the slot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headrace_asgi.errors import LayerRefused, LayerUnavailable

from ..address import Bucket, ClusterNodes, ServerAddress
from .buckets import key_slot
from .command import Argument
from .faults import SETTING
from .outcomes import login_refused
from .resp import ReplyError
from .search import ServerSearch

__all__ = ["CLUSTER_ACL", "SLOT_LOOK_SECONDS", "SlotQuestion", "SlotSearch"]

#: What a user of an ACL must be allowed to do beside what every Redis needs.
CLUSTER_ACL = "+cluster|slots"
#: Who uses a node asks so often whether it still has the slot. One that works says so itself (MOVED); one
#: that hangs does not, and its replica has taken its slots by then.
SLOT_LOOK_SECONDS = 5.0


class SlotQuestion:
    """Asks one node which one has the slot of a bucket; see `search.Question`."""

    __slots__ = ("_awaited", "_bucket", "_label", "asked", "commands", "host", "port")

    def __init__(self, asked: ServerAddress, bucket: Bucket) -> None:
        """Take whom to ask, with its login."""
        self.asked = asked
        self._bucket = bucket
        self._label = asked.label
        self.host, self.port = "", 0
        self._awaited: list[Callable[[Any], None]] = [self._heard_slots]
        self.commands: list[tuple[Argument, ...]] = [(b"CLUSTER", b"SLOTS")]
        if asked.login:
            self.commands.insert(0, asked.login)
            self._awaited.insert(0, self._heard_login)

    @property
    def is_over(self) -> bool:
        """Whether host and port are known."""
        return bool(self.port)

    def heard(self, answer: Any) -> None:
        """Take the next answer.

        Raises LayerRefused for what only a change of settings can mend, LayerUnavailable for what makes no
        sense. Then another node is to be asked.
        """
        heard = self._awaited.pop(0)
        if isinstance(answer, ReplyError):
            raise self._refused(answer)
        heard(answer)

    def _refused(self, answer: ReplyError) -> LayerUnavailable:
        said = str(answer)
        if said.startswith(("NOAUTH", "WRONGPASS")) or "without any password" in said:
            return login_refused(self._label, answer)
        if said.startswith("NOPERM"):
            return LayerRefused(
                f"Redis at {self._label} refused to say which node has a slot ({said}); "
                f"a user of its ACL needs: {CLUSTER_ACL}"
            )
        if "cluster support disabled" in said:
            return LayerRefused(
                f"Redis at {self._label} is in no Cluster ({said}); name it in {SETTING} as "
                "redis://host:port/0, or set cluster-enabled yes in Redis"
            )
        return LayerUnavailable(f"Redis at {self._label} does not say which node has a slot: {said}")

    def _heard_login(self, answer: Any) -> None:
        """An error is told by `heard`."""

    def _heard_slots(self, answer: Any) -> None:
        slot = key_slot(self._bucket.key_start)
        try:
            nodes = [one[2] for one in answer if one[0] <= slot <= one[1]]
            if nodes:
                # Without a host: the one that we reached it by.
                self.host = (nodes[0][0] or b"").decode() or self.asked.host
                self.port = int(nodes[0][1])
        except (TypeError, ValueError, LookupError, AttributeError):
            self.port = 0
            raise LayerUnavailable(
                f"Redis at {self._label} gave an answer that means nothing: {answer!r:.100}"
            ) from None
        if not nodes:
            raise LayerRefused(
                f"no node of the Cluster has slot {slot}, says {self._label}: assign all slots, as "
                "`redis-cli --cluster fix` does, or name another Cluster in " + SETTING
            )


class SlotSearch(ServerSearch):
    """Which nodes to ask for the one that has the slot of a bucket."""

    look_seconds = SLOT_LOOK_SECONDS

    def __init__(self, address: ServerAddress, cluster: ClusterNodes, bucket: Bucket, first: int = 0) -> None:
        """Take what is searched, and the number of the node to ask first."""
        super().__init__(cluster.addresses, first)
        self.nobody = f"no node of the Cluster says where bucket {bucket.place} is"
        self._address = address
        self._bucket = bucket

    def question(self, asked: ServerAddress) -> SlotQuestion:
        return SlotQuestion(asked, self._bucket)

    def found(self, question: SlotQuestion) -> ServerAddress:
        """The node that another one has named."""
        return replace(self._address, host=question.host, port=question.port, cluster=None)
