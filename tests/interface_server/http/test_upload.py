"""A streamed body on its way: chunks, retries, the end."""

from __future__ import annotations

from typing import Any

from headrace_asgi.contract import Outcome
from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.http.body import RequestBody
from headrace_interface.http.spool import Spool
from headrace_interface.http.upload import Upload
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import Lab


class Case:
    """An upload of a body whose first 4 bytes travelled inside the message."""

    def __init__(self, settings: InterfaceSettings | None = None) -> None:
        self.lab = Lab(settings)
        self.body = RequestBody(Spool(self.lab.context.bodies), 0, 4, 100, True)
        self.body.feed(b"firstsecond")
        self.body.first()
        self.moved = self.lost = 0
        self.upload = Upload(self.lab.context, self.body, self._moved, self._lost)

    def _moved(self) -> None:
        self.moved += 1

    def _lost(self) -> None:
        self.lost += 1

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """What was sent."""
        return [asked.message for asked in self.lab.port.of("http.request.body?")]


def test_nothing_is_sent_before_the_layer_has_the_request() -> None:
    case = Case()
    case.upload.go_on()
    assert case.chunks == []
    case.upload.start()
    assert case.chunks == [{"content": b"tsecond", "more_content": True}]
    assert case.lab.port.asked[0].channel == case.upload.channel


def test_channels_are_never_the_same() -> None:
    assert Case().upload.channel != Case().upload.channel


def test_the_next_chunk_follows_the_answer_to_the_last() -> None:
    case = Case()
    case.lab.port.auto = None
    case.upload.start()
    case.body.feed(b"more")
    case.body.complete = True
    case.upload.go_on()
    assert len(case.chunks) == 1
    case.lab.port.asked[0].answer()
    assert case.chunks[1] == {"content": b"more", "more_content": False}
    assert case.moved == 1


def test_a_chunk_that_was_refused_is_sent_again_later() -> None:
    case = Case()
    case.lab.port.outcomes = [Outcome.FULL, Outcome.UNAVAILABLE]
    case.upload.start()
    case.lab.settle()
    assert len(case.chunks) == 1
    case.lab.wait(1)
    assert case.chunks == [case.chunks[0]] * 3


def test_a_retry_ends_with_the_request() -> None:
    case = Case()
    case.lab.port.outcomes = [Outcome.FULL]
    case.upload.start()
    case.lab.settle()
    case.upload.stop(tell=True)
    case.lab.wait(1)
    assert case.chunks[1:] == [{"closed": True}]


def test_an_unknown_outcome_is_told_once() -> None:
    case = Case()
    case.lab.port.outcomes = [Outcome.UNKNOWN]
    case.upload.start()
    case.lab.settle()
    assert case.lost == 1


def test_credit_lets_more_out() -> None:
    case = Case()
    case.upload.start()
    case.lab.settle()
    case.body.feed(b"x")
    case.upload.go_on()
    assert len(case.chunks) == 1
    case.upload.credit(7)
    assert case.chunks[1]["content"] == b"x"


def test_the_end_is_told_once_and_only_to_somebody_who_may_listen() -> None:
    silent, told = Case(), Case()
    silent.upload.stop(tell=True)
    told.upload.start()
    told.lab.settle()
    told.upload.stop(tell=True)
    told.upload.stop(tell=True)
    told.upload.go_on()
    told.lab.settle()
    assert silent.chunks == []
    assert told.chunks[1:] == [{"closed": True}]


def test_the_end_is_told_when_the_layer_took_the_request_after_it() -> None:
    late, silent = Case(), Case()
    late.upload.stop(tell=True)
    silent.upload.stop(tell=False)
    for case in (late, silent):
        assert case.chunks == []
        case.upload.start()
        case.lab.settle()
    assert late.chunks == [{"closed": True}]
    assert silent.chunks == []


def test_a_body_that_cannot_be_read_is_lost() -> None:
    case = Case(InterfaceSettings(spool_memory_bytes=1))
    assert case.body._spool._file is not None
    case.body._spool._file.truncate(0)
    case.upload.start()
    case.lab.settle()
    assert (case.chunks, case.lost) == ([], 1)
    case.body.close()


def test_chunks_live_as_long_as_the_response_may_take() -> None:
    for seconds, expiry in ((50.0, 50.0), (OFF, 3600.0)):
        case = Case(InterfaceSettings(deadlines=Deadlines(response=seconds)))
        case.upload.start()
        assert case.lab.port.asked[0].expiry_seconds == expiry
