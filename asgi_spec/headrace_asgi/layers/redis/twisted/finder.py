"""Finds the server of a place by asking sentinels or nodes of a Cluster, inside a reactor, and watches it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from headrace_asgi.errors import LayerUnavailable

from ..address import ServerAddress
from ..plan.faults import Fault, connect_error
from ..plan.finding import search_of
from ..plan.resp import ReplyError, pack
from ..plan.search import Question, ServerSearch
from .connection import Reactor, RespProtocol, Timer, connect

__all__ = ["ServerFinder", "ServerWatch"]

#: Seconds in which a server that works answers.
FINDER_ANSWER_SECONDS = 1.0

_Found = Callable[[ServerAddress], None]
_Failed = Callable[[LayerUnavailable], None]


class ServerFinder:
    """Asks those who know where the server of an address is, one after the other. Not thread-safe."""

    def __init__(self, address: ServerAddress, reactor: Reactor) -> None:
        """Take an address that has sentinels, or is a bucket of a Cluster."""
        search = search_of(address, 0)
        #: Seconds between two looks whether it still is the one; and behind one that nobody answered.
        self.look_seconds, self.failed_look_seconds = search.look_seconds, search.failed_look_seconds
        self._address = address
        self._reactor = reactor
        #: The number of the one to ask first: who answered last.
        self._first = 0

    def find(self, found: _Found, failed: _Failed) -> Callable[[], None]:
        """Search the server. One of the two is called, later; the answer gives the search up.

        `failed` gets LayerRefused if each of those asked wants something to be put right.
        """
        search = search_of(self._address, self._first)

        def answered(number: int, server: ServerAddress) -> None:
            self._first = number
            found(server)

        asking = _Asking(search, self._reactor, answered, failed)
        asking.start()
        return asking.give_up

    def doubt(self) -> None:
        """Ask another one next: the one that answered may be cut off from the others."""
        self._first += 1


class _Asking:
    """One search, from one to the next who may know, each over a connection of its own."""

    def __init__(
        self,
        search: ServerSearch,
        reactor: Reactor,
        found: Callable[[int, ServerAddress], None],
        failed: _Failed,
    ) -> None:
        self._search = search
        self._reactor = reactor
        self._found = found
        self._failed = failed
        self._number = 0
        self._timer: Timer | None = None
        #: What is asked now; None once the search is over.
        self._question: Question | None = None
        self._connection: RespProtocol | None = None
        self._stop_connecting: Callable[[], None] | None = None

    def start(self) -> None:
        """Ask the first one."""
        self._later()

    def give_up(self) -> None:
        """End the search; nobody is told."""
        self._question = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._connection is not None:
            self._connection.abort("closed")
        elif self._stop_connecting is not None:
            self._stop_connecting()

    def _later(self) -> None:
        # Never at once: who searches has not got our answer yet.
        self._timer = self._reactor.callLater(0, self._next)

    def _next(self) -> None:
        self._timer = self._connection = self._stop_connecting = None
        number = self._search.next()
        if number is None:
            self._failed(self._search.error)
            return
        self._number = number
        asked = self._search.askable[number]
        question = self._question = self._search.question(asked)
        try:
            self._stop_connecting = connect(
                asked,
                self._reactor,
                FINDER_ANSWER_SECONDS,
                partial(self._ask, question),
                partial(self._lost, question),
            )
        except LayerUnavailable as error:
            self._go_on(question, error)

    def _ask(self, question: Question, connection: RespProtocol) -> None:
        if question is not self._question:
            connection.abort("closed")
            return
        self._connection = connection
        for command in question.commands:
            connection.send(pack(command), partial(self._heard, question, connection))
        connection.flush()

    def _heard(self, question: Question, connection: RespProtocol, answer: Any) -> None:
        if question is not self._question or (
            isinstance(answer, Exception) and not isinstance(answer, ReplyError)
        ):
            return  # it is over, or the connection is, which `_lost` was told
        try:
            further = question.heard(answer)
        except LayerUnavailable as error:
            self._go_on(question, error)
            connection.abort("closed")
            return
        if further is not None:
            connection.send(pack(further), partial(self._heard, question, connection))
            connection.flush()
        elif question.is_over:
            self._question = self._connection = None
            connection.close()
            self._found(self._number, self._search.found(question))

    def _lost(self, question: Question, why: str, fault: Fault) -> None:
        self._go_on(question, connect_error(question.asked, fault, why))

    def _go_on(self, question: Question, error: LayerUnavailable) -> None:
        """The one asked last did not help."""
        if question is self._question:
            self._question = self._connection = None
            self._search.failed(error)
            self._later()


class ServerWatch:
    """Asks again and again which server is the one, while one is used."""

    def __init__(self, finder: ServerFinder, reactor: Reactor, named: _Found) -> None:
        """`named` is called with each answer."""
        self._finder = finder
        self._reactor = reactor
        self._named = named
        self._timer: Timer | None = None
        self._give_up: Callable[[], None] | None = None
        self._running = False

    def start(self) -> None:
        """A server is used from now on."""
        self._running = True
        self._later(self._finder.look_seconds)

    def stop(self) -> None:
        """None is used any more. Does no harm twice."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._give_up is not None:
            self._give_up()
            self._give_up = None

    def _later(self, seconds: float) -> None:
        self._timer = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._give_up = self._finder.find(self._seen, self._unseen)

    def _seen(self, server: ServerAddress) -> None:
        self._give_up = None
        self._named(server)
        if self._running:
            self._later(self._finder.look_seconds)

    def _unseen(self, error: LayerUnavailable) -> None:
        """The server that is used may serve all the same."""
        self._give_up = None
        self._later(self._finder.failed_look_seconds)
