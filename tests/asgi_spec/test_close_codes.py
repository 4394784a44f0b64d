"""Which close codes may be sent, and that nobody else decides it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace_asgi import close_codes
from headrace_asgi.close_codes import may_be_sent
from headrace_asgi.errors import BadMessage
from headrace_asgi.messages import WEBSOCKET_SEND

ROOT = Path(__file__).resolve().parents[2]
#: RFC 6455 7.4.1 and the registry that it founded; 3000 and on are for libraries and applications.
SENDABLE = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000)}


def test_the_codes_that_may_be_sent_are_those_of_the_registry() -> None:
    assert {code for code in range(-1, 70_000) if may_be_sent(code)} == SENDABLE


def test_what_only_stands_for_an_end_is_never_sent() -> None:
    assert not may_be_sent(close_codes.NO_CODE)
    assert not may_be_sent(close_codes.ABNORMAL)


def test_every_other_code_with_a_name_may_be_sent() -> None:
    named = {name for name, value in vars(close_codes).items() if isinstance(value, int)}
    assert all(may_be_sent(getattr(close_codes, name)) for name in named - {"NO_CODE", "ABNORMAL"})


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_a_message_that_asks_for_another_code_is_refused(code: int) -> None:
    with pytest.raises(BadMessage, match="close code"):
        WEBSOCKET_SEND.check({"close": code})


def test_the_rule_is_written_once() -> None:
    rule = re.compile(r"\b(?:3000|4999)\b(?!-|\))")
    for folder in ("asgi_spec", "interface_server", "worker"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "close_codes.py":
                code = [line for line in path.read_text(encoding="utf-8").splitlines() if "<=" in line]
                assert not any(rule.search(line) for line in code), path
