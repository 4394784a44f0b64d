"""The behaviours that layers of the ASGI 0.x family had to show, as tests, without those of extensions.

One is different: a pattern for `new_channel` may end with `!` as well as with `?`. `groups` and `upkeep` have
those of the family's extensions.
"""

# Shipped to be run by unittest as well, and under -O, where an assert statement is not there.
# ruff: noqa: PT009, PT027

from __future__ import annotations

from typing import Any

from .case import ConformanceCase

__all__ = ["SpecificationConformance"]

VALUES: dict[str, Any] = {
    "bytes": bytes(range(256)),
    "text": "\x00\n plain, äöü, \u2028, \U0001f30a",
    "int": 2**63 - 1,
    "negative": -(2**63),
    "float": 0.1,
    "true": True,
    "none": None,
    "empty": ["", b"", [], {}],
    "nested": {"list": [[b"name", b"value"], {"deep": ["text", b"bytes", 1, None]}]},
}


class SpecificationConformance(ConformanceCase):
    """Sending, receiving, expiry, capacity, names and values, as ASGI 0.x says."""

    def test_what_is_sent_is_received_from_any_of_several_channels(self) -> None:
        self.channel_layer.send("test.one", {"value": "blue"})
        self.channel_layer.send("test.two", {"value": "green"})
        self.channel_layer.send("test.two", {"value": "red"})
        received = self.take_all(["test.one", "test.two"], 3)
        self.assertEqual(
            sorted((channel, message["value"]) for channel, message in received),
            [("test.one", "blue"), ("test.two", "green"), ("test.two", "red")],
        )
        self.assert_nothing(["test.one", "test.two"])

    def test_a_process_channel_is_received_by_the_part_up_to_the_exclamation_mark(self) -> None:
        self.channel_layer.send("test.process!one", {"value": "blue"})
        self.channel_layer.send("test.process!two", {"value": "red"})
        self.assert_next(["test.process!"], "test.process!one", {"value": "blue"})
        self.assert_next(["test.process!"], "test.process!two", {"value": "red"})

    def test_receiving_from_a_full_process_channel_name_is_refused(self) -> None:
        with self.assertRaises(TypeError):
            self.channel_layer.receive(["test.process!one"])
        with self.assertRaises(TypeError):
            self.channel_layer.receive_many(["test.one", "test.process!one"], 2)

    def test_a_message_that_nobody_read_expires(self) -> None:
        self.channel_layer.send("test.expiry", {"value": "old"})
        self.wait_for_expiry()
        self.assert_nothing(["test.expiry"])

    def test_new_channel_makes_names_that_were_never_used(self) -> None:
        for pattern in ("test.single?", "test.process!"):
            with self.subTest(pattern):
                names = {self.channel_layer.new_channel(pattern) for _ in range(100)}
                self.assertEqual(len(names), 100)
                for name in names:
                    self.assertTrue(name.startswith(pattern))
                    self.assertGreater(len(name), len(pattern))
                self.channel_layer.send(name, {"value": "blue"})
                queue = pattern if pattern.endswith("!") else name
                self.assert_next([queue], name, {"value": "blue"})

    def test_new_channel_refuses_a_pattern_without_a_mark_at_its_end(self) -> None:
        for pattern in ("x", "test.foo", "test?foo", "test!foo", "", "?", "!", "te st?", "test?\n"):
            with self.subTest(pattern), self.assertRaises(TypeError):
                self.channel_layer.new_channel(pattern)

    def test_every_kind_of_value_arrives_as_it_was_sent(self) -> None:
        self.channel_layer.send("test.values", VALUES)
        _, message = self.take(["test.values"])
        self.assertEqual(message, VALUES)
        for key, value in VALUES.items():
            self.assertIs(type(message[key]), type(value), key)

    def test_a_full_channel_refuses_and_accepts_again_when_it_was_read(self) -> None:
        capacity = self.capacity()
        for number in range(capacity):
            self.channel_layer.send("test.full", {"number": number})
        with self.assertRaises(self.channel_layer.ChannelFull):
            self.channel_layer.send("test.full", {"number": "too many"})
        received = [self.take(["test.full"])]
        self.channel_layer.send("test.full", {"number": capacity})
        received += self.take_all(["test.full"], capacity)
        self.assert_in_order((message["number"] for _, message in received), range(capacity + 1))

    def test_capacity_is_that_of_all_channels_of_one_process(self) -> None:
        capacity = self.capacity()
        for number in range(capacity):
            self.channel_layer.send(f"test.process!{number}", {"number": number})
        with self.assertRaises(self.channel_layer.ChannelFull):
            self.channel_layer.send("test.process!another", {"number": "too many"})
        self.channel_layer.send("test.other!one", {"number": 0})

    def test_the_layer_carries_its_exceptions(self) -> None:
        for name in ("ChannelFull", "MessageTooLarge"):
            exception = getattr(self.channel_layer, name)
            self.assertTrue(issubclass(exception, Exception), name)
        self.assertTrue(all(isinstance(name, str) for name in self.channel_layer.extensions))

    def test_changing_a_message_after_it_was_sent_changes_nothing_at_the_receiver(self) -> None:
        message = {"value": [1, {"deep": 1}]}
        for channel in ("test.process!one", "test.one"):
            self.channel_layer.send(channel, message)
        self.assertEqual(message, {"value": [1, {"deep": 1}]})
        message["value"].append("changed")
        for queue in ("test.process!", "test.one"):
            _, received = self.take([queue])
            self.assertEqual(received, {"value": [1, {"deep": 1}]})
            received["value"].append("changed by a receiver")
