"""What is on its way to a client."""

import unittest

from mqtt_bridge.codec import PacketReader, Publish, Unsubscribe
from mqtt_bridge.delivery import Deliveries


def read(data):
    return PacketReader(1000).feed(data)


class DeliveryTests(unittest.TestCase):
    def setUp(self):
        self.deliveries = Deliveries()

    def test_a_message_comes_once_with_the_least_qos_of_both_ends(self):
        self.deliveries.subscribe("a/#", 1)
        self.deliveries.subscribe("a/b", 0)
        (message,) = read(self.deliveries.publish(Publish("a/b", b"x", qos=1)))
        assert message == Publish("a/b", b"x", qos=1, packet_id=1)
        (message,) = read(self.deliveries.publish(Publish("a/b", b"x", qos=0)))
        assert message.qos == 0
        self.deliveries.unsubscribe(Unsubscribe(1, ("a/#", "never")))
        (message,) = read(self.deliveries.publish(Publish("a/b", b"x", qos=1)))
        assert message.qos == 0
        assert self.deliveries.publish(Publish("c", b"x")) == b""

    def test_so_many_are_on_their_way_and_the_next_ones_wait_in_order(self):
        self.deliveries.subscribe("#", 1)
        sent = []
        for number in range(50):
            sent += read(self.deliveries.publish(Publish("a", b"%d" % number, qos=1)))
        assert len(sent) == self.deliveries.max_in_flight
        for each in sent:
            sent += read(self.deliveries.acknowledged(each.packet_id))
        assert [each.payload for each in sent] == [b"%d" % number for number in range(50)]
        assert self.deliveries.acknowledged(999) == b""

    def test_an_identifier_is_not_given_out_while_it_is_on_its_way(self):
        self.deliveries.subscribe("#", 1)
        read(self.deliveries.publish(Publish("a", b"", qos=1)))
        for number in range(2, 65_536):
            self.deliveries.publish(Publish("a", b"", qos=1))
            self.deliveries.acknowledged(number)
        (message,) = read(self.deliveries.publish(Publish("a", b"", qos=1)))
        assert message.packet_id == 2

    def test_who_acknowledges_nothing_is_too_slow(self):
        self.deliveries.subscribe("#", 1)
        for _ in range(self.deliveries.max_in_flight + self.deliveries.max_waiting):
            self.deliveries.publish(Publish("a", b"", qos=1))
        assert not self.deliveries.is_too_slow
        self.deliveries.publish(Publish("a", b"", qos=1))
        assert self.deliveries.is_too_slow

    def test_who_does_not_keep_up_loses_what_has_qos_0(self):
        self.deliveries.subscribe("#", 1)
        assert self.deliveries.publish(Publish("a", b""), may_drop=True) == b""
        assert self.deliveries.publish(Publish("a", b"", qos=1), may_drop=True)

    def test_there_are_only_so_many_filters(self):
        for number in range(self.deliveries.max_filters):
            assert self.deliveries.subscribe(f"a/{number}", 0)
        assert not self.deliveries.subscribe("b", 0)
        assert self.deliveries.subscribe("a/0", 1)
