"""How long a client may take."""

from __future__ import annotations

from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.http.client_deadline import BODY_RATE, ClientDeadline, Expected


def client_deadline() -> ClientDeadline:
    return ClientDeadline(Deadlines(idle=75, header=10, body=30, linger=2))


def test_each_debt_has_its_deadline() -> None:
    this = client_deadline()
    assert this.due == OFF
    for expected, seconds in (
        (Expected.REQUEST, 75),
        (Expected.HEAD, 10),
        (Expected.BODY, 30),
        (Expected.CLOSE, 2),
    ):
        this.expect(expected, 100)
        assert (this.expected, this.due) == (expected, 100 + seconds)
    this.expect(Expected.NOTHING, 100)
    assert this.due == OFF


def test_the_same_debt_is_not_prolonged_st8() -> None:
    this = client_deadline()
    this.expect(Expected.HEAD, 100)
    this.expect(Expected.HEAD, 105)
    assert this.due == 110


def test_a_body_earns_time_by_its_size() -> None:
    this = client_deadline()
    this.expect(Expected.BODY, 100)
    this.expect(Expected.BODY, 120, BODY_RATE * 50)
    assert this.due == 100 + 30 + 50


def test_the_clock_of_a_body_stands_still_while_we_do_not_read() -> None:
    this = client_deadline()
    this.expect(Expected.BODY, 100)
    this.pause(110)
    this.expect(Expected.BODY, 110)
    assert this.due == OFF
    this.resume(200)
    this.resume(300)
    this.expect(Expected.BODY, 300)
    assert this.due == 100 + 90 + 30


def test_a_second_body_starts_anew() -> None:
    this = client_deadline()
    this.expect(Expected.BODY, 100)
    this.expect(Expected.NOTHING, 110)
    this.expect(Expected.BODY, 500)
    assert this.due == 530


def test_the_wait_for_a_request_can_be_made_shorter_and_never_longer() -> None:
    this = client_deadline()
    this.expect(Expected.REQUEST, 100)
    this.hasten(1)
    assert this.due == 101
    this.hasten(50)
    assert this.due == 101
    this.expect(Expected.HEAD, 100.5)
    this.hasten(1)
    assert this.due == 110.5
    this.expect(Expected.REQUEST, 120)
    assert this.due == 121
