"""How long a client may take."""

from __future__ import annotations

from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.http_patience import BODY_RATE, Owed, Patience


def patience() -> Patience:
    return Patience(Deadlines(idle=75, header=10, body=30, linger=2))


def test_each_debt_has_its_deadline() -> None:
    this = patience()
    assert this.due == OFF
    for owed, seconds in ((Owed.REQUEST, 75), (Owed.HEAD, 10), (Owed.BODY, 30), (Owed.CLOSE, 2)):
        this.expect(owed, 100)
        assert (this.owed, this.due) == (owed, 100 + seconds)
    this.expect(Owed.NOTHING, 100)
    assert this.due == OFF


def test_the_same_debt_is_not_prolonged_st8() -> None:
    this = patience()
    this.expect(Owed.HEAD, 100)
    this.expect(Owed.HEAD, 105)
    assert this.due == 110


def test_a_body_earns_time_by_its_size() -> None:
    this = patience()
    this.expect(Owed.BODY, 100)
    this.expect(Owed.BODY, 120, BODY_RATE * 50)
    assert this.due == 100 + 30 + 50


def test_the_clock_of_a_body_stands_still_while_we_do_not_read() -> None:
    this = patience()
    this.expect(Owed.BODY, 100)
    this.pause(110)
    this.expect(Owed.BODY, 110)
    assert this.due == OFF
    this.resume(200)
    this.resume(300)
    this.expect(Owed.BODY, 300)
    assert this.due == 100 + 90 + 30


def test_a_second_body_starts_anew() -> None:
    this = patience()
    this.expect(Owed.BODY, 100)
    this.expect(Owed.NOTHING, 110)
    this.expect(Owed.BODY, 500)
    assert this.due == 530


def test_the_wait_for_a_request_can_be_made_shorter_and_never_longer() -> None:
    this = patience()
    this.expect(Owed.REQUEST, 100)
    this.hasten(1)
    assert this.due == 101
    this.hasten(50)
    assert this.due == 101
    this.expect(Owed.HEAD, 100.5)
    this.hasten(1)
    assert this.due == 110.5
    this.expect(Owed.REQUEST, 120)
    assert this.due == 121
