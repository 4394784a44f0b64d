"""A stop that takes too long ends the process."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from headrace.worker.activity import Activity
from headrace.worker.deadline import Deadline
from headrace_asgi.contract import Delivery


class Leaving:
    """A deadline of 50 ms, and the status with which it ended the process."""

    def __init__(self, running: bool) -> None:
        self.activity = Activity()
        if running:
            delivery = Delivery("http.request", {"path": "/a\nb", "reply_channel": "x!y"}, b"", 0, "0", 0.0)
            self.activity.running = (delivery, 0.0)
        self.status: list[int] = []
        self.deadline = Deadline([self.activity], 0.05, lambda: Counter(done=3), self.status.append)
        self.deadline.start()


def test_a_stop_that_takes_too_long_cuts_off_what_runs_and_says_what(
    caplog: pytest.LogCaptureFixture,
) -> None:
    leaving = Leaving(running=True)
    leaving.deadline.begin()
    leaving.deadline.begin()
    leaving.deadline._thread.join(5)
    assert leaving.status == [1]
    named = "A message on http.request (path '/a\\nb', reply channel 'x!y')"
    assert f"{named} still runs 0.05 s after the stop; it is cut off" in caplog.text
    assert "done 3, lost 1" in caplog.text
    leaving.deadline.close()


def test_a_stop_that_only_the_layer_holds_up_ends_in_time_with_0(caplog: pytest.LogCaptureFixture) -> None:
    leaving = Leaving(running=False)
    leaving.deadline.begin()
    leaving.deadline._thread.join(5)
    assert leaving.status == [0]
    assert "The channel layer did not answer within 0.05 s of the stop" in caplog.text


def test_a_stop_in_time_meets_no_deadline() -> None:
    leaving = Leaving(running=True)
    time.sleep(0.1)
    leaving.deadline.begin()
    leaving.deadline.close()
    assert leaving.status == []
