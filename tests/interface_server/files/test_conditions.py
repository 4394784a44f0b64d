"""Conditions of a request, in the order in which they count."""

from __future__ import annotations

import pytest

from headrace_interface.files.conditions import Validators, Verdict, preconditions, range_holds, validators_of
from headrace_interface.http.head import RequestHead

#: Sun, 06 Nov 1994 08:49:37 GMT
CHANGED = 784111777
NOW = CHANGED + 1000.0
BEFORE, AT, AFTER = (b"Sun, 06 Nov 1994 08:49:%d GMT" % second for second in (36, 37, 38))
STRONG = validators_of(100, CHANGED * 10**9 + 5, None, NOW)
WEAK = validators_of(100, CHANGED * 10**9 + 5, None, CHANGED + 0.5)
TAG = STRONG.tag
GO_ON, KNOWN, FAILED = Verdict.GO_ON, Verdict.NOT_MODIFIED, Verdict.FAILED


def head(*headers: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead("GET", b"/a", "/a", b"", "1.1", list(headers), "http", None, None, "", True)


def test_a_tag_is_of_time_size_and_coding_and_weak_while_the_file_may_change_within_the_same_moment() -> None:
    assert WEAK.tag == b"W/" + TAG
    assert TAG.startswith(b'"')
    assert TAG.endswith(b'"')
    others = [
        validators_of(101, CHANGED * 10**9 + 5, None, NOW),
        validators_of(100, CHANGED * 10**9 + 6, None, NOW),
        validators_of(100, CHANGED * 10**9 + 5, b"gzip", NOW),
    ]
    assert len({TAG, *(each.tag for each in others)}) == 4
    assert STRONG.last_modified == AT


def test_a_date_in_the_future_is_not_told() -> None:
    assert validators_of(1, (CHANGED + 500) * 10**9, None, CHANGED + 0.5).last_modified == AT


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, GO_ON),
        ({b"if-match": TAG}, GO_ON),
        ({b"if-match": b"*"}, GO_ON),
        ({b"if-match": b'"a", ' + TAG}, GO_ON),
        ({b"if-match": b'"a"'}, FAILED),
        ({b"if-match": b"W/" + TAG}, FAILED),
        ({b"if-match": b"nonsense"}, FAILED),
        ({b"if-unmodified-since": BEFORE}, FAILED),
        ({b"if-unmodified-since": AT}, GO_ON),
        ({b"if-unmodified-since": AFTER}, GO_ON),
        ({b"if-unmodified-since": b"nonsense"}, GO_ON),
        ({b"if-match": TAG, b"if-unmodified-since": BEFORE}, GO_ON),
        ({b"if-none-match": TAG}, KNOWN),
        ({b"if-none-match": b"W/" + TAG}, KNOWN),
        ({b"if-none-match": b'"a,b" ,, ' + TAG + b" ,"}, KNOWN),
        ({b"if-none-match": b"*"}, KNOWN),
        ({b"if-none-match": b'"a"'}, GO_ON),
        ({b"if-none-match": TAG.strip(b'"')}, GO_ON),
        ({b"if-none-match": b'"a" ' + TAG}, GO_ON),
        ({b"if-modified-since": BEFORE}, GO_ON),
        ({b"if-modified-since": AT}, KNOWN),
        ({b"if-modified-since": AFTER}, KNOWN),
        ({b"if-modified-since": b"Sunday, 06-Nov-94 08:49:37 GMT"}, KNOWN),
        ({b"if-modified-since": b"Sun Nov  6 08:49:37 1994"}, KNOWN),
        ({b"if-modified-since": b"Sun, 99 Nov 99999999999 99:99:99 GMT"}, GO_ON),
        ({b"if-modified-since": b""}, GO_ON),
        ({b"if-none-match": b'"a"', b"if-modified-since": AT}, GO_ON),
        ({b"if-match": b'"a"', b"if-none-match": TAG}, FAILED),
        ({b"if-match": TAG, b"if-none-match": TAG}, KNOWN),
        ({b"if-unmodified-since": BEFORE, b"if-modified-since": AFTER}, FAILED),
    ],
)
def test_conditions_hold_or_not_in_the_order_of_the_standard(
    fields: dict[bytes, bytes], verdict: Verdict
) -> None:
    assert preconditions(head(*fields.items()), STRONG) is verdict


def test_a_list_of_tags_may_be_several_fields() -> None:
    several = head((b"if-none-match", b'"a"'), (b"if-none-match", TAG))
    assert preconditions(several, STRONG) is KNOWN


def test_a_weak_tag_is_good_for_a_copy_and_not_for_a_part() -> None:
    assert preconditions(head((b"if-none-match", WEAK.tag)), WEAK) is KNOWN
    assert preconditions(head((b"if-match", WEAK.tag)), WEAK) is FAILED
    assert not range_holds(head((b"if-range", WEAK.tag)), WEAK)
    assert not range_holds(head((b"if-range", AT)), WEAK)


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (TAG, True),
        (b'"a"', False),
        (b"W/" + TAG, False),
        (AT, True),
        (BEFORE, False),
        (AFTER, False),
        (b"*", False),
        (b"nonsense", False),
        (TAG + b", " + TAG, False),
    ],
)
def test_a_part_is_sent_only_to_who_has_the_rest(value: bytes, holds: bool) -> None:
    assert range_holds(head((b"if-range", value)), STRONG) is holds


def test_without_a_condition_a_part_is_sent_and_with_two_it_is_not() -> None:
    assert range_holds(head(), STRONG)
    assert not range_holds(head((b"if-range", TAG), (b"if-range", TAG)), STRONG)
    assert range_holds(head((b"if-range", b'"x"')), Validators(b'"x"', 1, True))
