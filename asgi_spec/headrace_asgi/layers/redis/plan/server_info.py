"""What a Redis says of itself. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["OLDEST", "ServerInfo", "facts_of"]

#: BLMPOP and scripts that declare flags came with this version.
OLDEST = (7, 0)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """All are empty if INFO is forbidden. Identifiers of connections are unique within one `run_id`.

    `mode` is standalone, cluster or sentinel, `role` master or slave, `policy` what is done without memory.
    """

    version: str = ""
    run_id: str = ""
    mode: str = ""
    role: str = ""
    policy: str = ""

    @property
    def too_old(self) -> bool:
        """Whether this version cannot serve."""
        numbers = re.match(r"(\d+)\.(\d+)", self.version)
        return numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST


def facts_of(info: Any) -> ServerInfo:
    """Read the answer to `INFO`, which an ACL may forbid."""
    if not isinstance(info, bytes):
        return ServerInfo()
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    found = {name: value.strip() for name, _, value in lines}
    found.setdefault("redis_mode", found.get("server_mode", ""))  # what Valkey calls it
    names = ("redis_version", "run_id", "redis_mode", "role", "maxmemory_policy")
    return ServerInfo(*(found.get(name, "") for name in names))
