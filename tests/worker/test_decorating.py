from __future__ import annotations

from typing import Any

import pytest

from headrace.decorating import Run, decorated, message_of
from headrace.message import Message
from headrace.sessions import enforce_ordering


def doubled(message: Message, run: Run) -> Any:
    return [message.content["n"], run()]


MESSAGE = Message({"n": 1}, "test", None)


def test_the_message_is_a_functions_first_argument() -> None:
    assert decorated(lambda message, extra: extra, doubled)(MESSAGE, extra=2) == [1, 2]


def test_the_message_is_a_methods_second_argument() -> None:
    class Consumer:
        number = 3

        def method(self, message: Message) -> int:
            return self.number

        method = decorated(method, doubled)  # type: ignore[assignment]

    assert Consumer().method(MESSAGE) == [1, 3]


def test_without_a_message_it_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="with a Message"):
        message_of((1, 2, MESSAGE))


def test_marks_and_names_of_the_consumer_stay() -> None:
    @enforce_ordering
    def consumer(message: Message) -> None:
        """What it does."""

    wrapped = decorated(consumer, doubled)
    assert (wrapped.__name__, wrapped.__doc__) == ("consumer", "What it does.")
    assert wrapped.headrace_ordering is True  # type: ignore[attr-defined]
