"""What the contract itself holds; `conformance` tests it on every layer."""

from __future__ import annotations

import inspect

import pytest

from headrace_asgi import ChannelFull, MessageTooLarge, contract
from headrace_asgi.contract import ChannelLayer, Delivery, Outcome, Send, WorkerPort
from headrace_asgi.envelope import pack_message


def test_accepted_are_the_outcomes_after_which_the_message_is_where_it_should_be() -> None:
    accepted = {outcome for outcome in Outcome if outcome.accepted}
    assert accepted == {Outcome.SENT, Outcome.BOXED, Outcome.DUPLICATE, Outcome.TOLD}


def test_the_outcomes_are_the_numbers_that_the_scripts_answer() -> None:
    assert {outcome.name: outcome.value for outcome in Outcome} == {
        "SENT": 1, "BOXED": 2, "FULL": 0, "GONE": -1, "DUPLICATE": -2, "TOLD": -3, "STALE": -4,
        "LAPSED": -7, "UNAVAILABLE": -8, "UNKNOWN": -9, "FORGOTTEN": -10, "UNSENDABLE": -11,
    }  # fmt: skip


def test_a_layer_carries_its_exceptions_as_in_asgi() -> None:
    assert ChannelLayer.ChannelFull is ChannelFull
    assert ChannelLayer.MessageTooLarge is MessageTooLarge


def test_a_layer_or_port_that_lacks_a_method_cannot_be_made() -> None:
    for abstract in (ChannelLayer, WorkerPort):
        with pytest.raises(TypeError, match="abstract"):
            abstract()


def test_every_method_of_the_contract_says_what_it_does() -> None:
    for cls in (ChannelLayer, WorkerPort, contract.InterfacePort, contract.InterfaceReceiver):
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_"):
                assert method.__doc__, f"{cls.__name__}.{name}"


def test_a_send_has_nothing_of_the_dict_that_was_said() -> None:
    send = Send("test", pack_message({"a": 1}))
    assert send == Send("test", b"\x81\xa1a\x01")
    assert "x81" not in repr(send)


def test_a_delivery_is_not_ordered_and_was_not_retried_unless_it_says_so() -> None:
    delivery = Delivery("test", {}, b"", 0, "0", 0.0)
    assert (delivery.order, delivery.retries) == (None, 0)
