"""The parts of a URL with several hosts: `scheme://user:password@host:port,host2:port/path?query`. Pure."""

from __future__ import annotations

from typing import NamedTuple

from headrace_asgi.errors import ConfigurationError

__all__ = ["UrlParts", "host_and_port", "parts_of"]


class UrlParts(NamedTuple):
    """What stands behind the scheme."""

    #: With the @ behind it; empty if there is none.
    login: str
    hosts: list[str]
    path: str
    query: str


def parts_of(rest: str, scheme: str) -> UrlParts:
    """Take apart what stands behind `scheme`. Raises ConfigurationError, whose text shows no password."""
    rest, _, query = rest.partition("?")
    where, _, path = rest.partition("/")
    login, at, hosts = where.rpartition("@")
    if "@" in path:
        raise ConfigurationError(
            f"the user or password in a {scheme}:// URL has characters such as / ? # that must be "
            "percent-encoded"
        )
    return UrlParts(login + at, hosts.split(","), path, query)


def host_and_port(host: str, default_port: str, without: str) -> tuple[str, str]:
    """A host, which may be IPv6 in brackets, and its port. Raises ConfigurationError(without) for none."""
    name, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", default_port)
    if not name:
        raise ConfigurationError(without)
    return name.strip("[]"), port
