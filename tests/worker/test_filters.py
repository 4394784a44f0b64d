"""Regular expressions per message key."""

from __future__ import annotations

from headrace.filters import EMPTY, Filters


def test_no_filter_matches_anything() -> None:
    assert EMPTY.match({}) == {}
    assert EMPTY.consumed({"a": "b"}) == ({"a": "b"}, {})
    assert EMPTY.reachable({}) is True
    assert EMPTY.then(EMPTY).match({"path": 5}) == {}


def test_a_chain_matches_what_is_left_over() -> None:
    chain = Filters.of({"path": "^/a", "method": "^G"}).then(Filters.of({"path": "^/b$", "method": "^ET$"}))
    assert chain.match({"path": "/a/b", "method": "GET"}) == {}
    assert chain.match({"path": "/a/b", "method": "GE"}) is None
    assert chain.consumed({"path": "/a/b", "method": "GET", "x": 1}) == (
        {"path": "", "method": "", "x": 1},
        {},
    )
    assert chain.consumed({"path": "/a/c", "method": "GET"}) is None
    assert str(chain) == "path=^/a + ^/b$ method=^G + ^ET$"


def test_what_is_not_known_yet_may_match() -> None:
    filters = Filters.of({"path": "^/a$", "text": "^x"})
    assert filters.reachable({"path": "/a"}) is False
    assert filters.reachable({"path": "/b"}) is None
    assert Filters.of({"path": "^/a$"}).reachable({"path": "/a"}) is True


def test_a_literal_path_given_as_bytes_is_still_found() -> None:
    assert Filters.of({"path": "^/a$"}).match({"path": b"/a"}) == {}
    assert Filters.of({"path": "^/(?P<x>a)$"}).match({"path": b"/a"}) == {"x": "a"}
    assert Filters.of({"path": b"^/a$"}).match({"path": "/a"}) == {}
