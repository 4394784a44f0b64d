"""The rules of HTTP's grammar, at their edges."""

from __future__ import annotations

import pytest

from headrace_interface.http import grammar


def test_a_token_has_the_characters_of_its_section_only() -> None:
    for byte in range(256):
        character = bytes([byte])
        allowed = character.isalnum() or character in b"!#$%&'*+-.^_`|~"
        assert bool(grammar.TOKEN.fullmatch(character)) is allowed, character
        assert (character in grammar.TOKEN_BYTES) is allowed, character
    assert grammar.TOKEN.fullmatch(b"") is None


def test_a_value_has_no_controls_but_the_tab() -> None:
    for byte in range(256):
        allowed = byte == 9 or 32 <= byte <= 126 or byte >= 128
        assert (byte in grammar.FIELD_VALUE_BYTES) is allowed, byte
        assert (byte in grammar.SAFE_VALUE_BYTES) is (allowed and byte != 0x85), byte


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x7f", "\x85", "\u2028", "\u2029"])
def test_a_value_that_is_written_as_utf_8_ends_no_line(character: str) -> None:
    assert grammar.UTF8_VALUE.fullmatch("a\tb ä€😀")
    assert grammar.UTF8_VALUE.fullmatch(f"a{character}b") is None


def test_a_list_keeps_its_elements_without_what_stands_around_them() -> None:
    assert grammar.listed(b"a , b,\tc") == [b"a", b"b", b"c"]
    assert grammar.listed(b"") == [b""]
    assert grammar.listed(b"a,,\x0bb") == [b"a", b"", b"\x0bb"], "a vertical tab is no whitespace here"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"9" * 18, 10**18 - 1),
        (b"9" * 19, None),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1_0", None),
        (b" 1", None),
        ("٣".encode(), None),
    ],
)
def test_a_number_is_digits(value: bytes, expected: int | None) -> None:
    assert grammar.number(value) == expected


@pytest.mark.parametrize("host", [b"example.com", b"example.com:80", b"[::1]:8000", b"a:", b"127.0.0.1"])
def test_hosts(host: bytes) -> None:
    assert grammar.HOST.fullmatch(host)


@pytest.mark.parametrize("host", [b"", b"user@example.com", b"a/b", b"a:123456", b"[::1", b"a b"])
def test_what_is_no_host(host: bytes) -> None:
    assert grammar.HOST.fullmatch(host) is None


def test_targets() -> None:
    assert grammar.NOT_IN_TARGET.search(b"/a?b=%20") is None
    for bad in (b"/a b", b"/a#b", b"/\xe4", b"/\x7f"):
        assert grammar.NOT_IN_TARGET.search(bad)
    absolute = grammar.ABSOLUTE_FORM.fullmatch(b"HTTP://example.com:80/a?b")
    assert absolute is not None
    assert absolute.groups() == (b"example.com:80", b"/a?b")
    assert grammar.ABSOLUTE_FORM.fullmatch(b"ftp://example.com/") is None


def test_a_date_is_that_of_its_section() -> None:
    assert grammar.date(784_111_777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
