"""Endpoints that listen on what another image of the process listened on."""

# ruff: noqa: N802, N803 (Twisted's names, called by Twisted)

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any

from headrace_asgi.errors import ConfigurationError

from ..direct_send import adopt_port

__all__ = ["AdoptingReactor"]


class AdoptingReactor:
    """Passes for the reactor with endpoints: what they would listen on is the next of some descriptors."""

    def __init__(self, reactor: Any, descriptors: Iterable[int]) -> None:
        self._reactor = reactor
        self._descriptors = iter(descriptors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._adopted(factory)

    def listenUNIX(self, address: str, factory: Any, *args: Any, **more: Any) -> Any:
        return self._adopted(factory)

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return self._adopted(TLSMemoryBIOFactory(contextFactory, False, factory), encrypted=True)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        return self._adopted(factory)

    def _adopted(self, factory: Any, encrypted: bool = False) -> Any:
        descriptor = next(self._descriptors, None)
        if descriptor is None:
            raise ConfigurationError("there are more endpoints than before: restart this process instead")
        with socket.socket(fileno=os.dup(descriptor)) as listening:
            family = listening.family
        port = adopt_port(self._reactor, descriptor, family, factory, encrypted)
        os.close(descriptor)
        return port
