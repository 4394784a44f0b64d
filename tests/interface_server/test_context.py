"""What connections share."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from time import time
from unittest.mock import patch

from tests.support.http_lab import Lab


def test_the_date_is_one_of_http() -> None:
    text = Lab().context.date().decode()
    assert abs(parsedate_to_datetime(text).timestamp() - time()) < 3
    with patch("time.time", return_value=784111777.5):
        assert Lab().context.date() == b"Sun, 06 Nov 1994 08:49:37 GMT"


def test_the_date_is_made_once_a_second() -> None:
    context = Lab().context
    with patch("time.time", return_value=784111777.0):
        first = context.date()
        assert context.date() is first
    with patch("time.time", return_value=784111778.0):
        assert context.date().endswith(b":38 GMT")


def test_a_new_site_takes_requests_and_waits_for_its_layer() -> None:
    context = Lab(layer_up=False).context
    assert context.accepting
    assert not context.layer_up
