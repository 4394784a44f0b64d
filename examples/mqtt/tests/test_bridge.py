"""Connections of clients and messages, without a network: on a layer in memory and a fake clock."""

import logging
import unittest

from mqtt_bridge import codec
from mqtt_bridge.codec import Publish
from mqtt_bridge.server import (
    CONNECT_SECONDS,
    MAX_CLIENTS,
    RETRIES,
    RETRY_SECONDS,
    SLOW_SECONDS,
    MqttFactory,
    MqttServer,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from headrace_asgi import InMemoryChannelLayer
from tests.test_codec import CONNECT, FULL_CONNECT

PUBLISH = b"\x32\x08\x00\x01a\x00\x07one"


class Device:
    """A client's end."""

    def __init__(self, site):
        self.site = site
        self.protocol = MqttFactory(site.server).buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def say(self, data):
        self.protocol.dataReceived(data)
        self.site.turn()

    def heard(self):
        """What came since the last look."""
        data = bytes(self.transport.value())
        self.transport.clear()
        return data

    @property
    def is_closed(self):
        return self.transport.disconnecting or self.transport.disconnected

    def leave(self):
        self.protocol.connectionLost()
        self.site.turn()


class BridgeTests(unittest.TestCase):
    capacity = 100

    def setUp(self):
        logging.disable(logging.ERROR)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.clock = Clock()
        self.layer = InMemoryChannelLayer(clock=self.clock.seconds, capacity=self.capacity)
        self.port = self.layer.open_interface_port(self.clock)
        self.server = MqttServer("", self.clock, [self.port])
        self.port.start(self.server.places[0])
        self.turn()

    def turn(self, seconds=0):
        self.clock.advance(seconds)
        for _ in range(4):
            self.clock.advance(0)

    def said(self, channel):
        """The next message of a channel, or None."""
        return self.layer.receive([channel])[1]

    def answer(self, message, **content):
        self.layer.send(message["reply_channel"], content)
        self.turn()

    def connected(self, data=CONNECT):
        device = Device(self)
        device.say(data)
        self.answer(self.said("mqtt.connect"), accept=True)
        assert device.heard() == codec.connack(0)
        return device

    def subscribed(self, *filters):
        device = self.connected()
        fields = b"".join(b"\x00%c%s\x01" % (len(each), each) for each in filters)
        device.say(b"\x82%c\x00\x01%s" % (len(fields) + 2, fields))
        message = self.said("mqtt.subscribe")
        self.answer(message, packet=message["packet"], granted=message["filters"])
        assert device.heard() == codec.suback(1, [1] * len(filters))
        return device, message["reply_channel"]

    def test_a_client_is_let_in_by_a_consumer(self):
        device = Device(self)
        device.say(FULL_CONNECT)
        message = self.said("mqtt.connect")
        assert (message["client_id"], message["username"], message["password"]) == ("lamp", "name", b"secret")
        assert device.heard() == b""
        self.answer(message, accept=True)
        assert device.heard() == codec.connack(0)
        device.say(b"\xc0\x00")
        assert device.heard() == codec.pingresp()

    def test_who_is_refused_or_never_answered_is_closed(self):
        device = Device(self)
        device.say(CONNECT)
        self.answer(self.said("mqtt.connect"), refuse=5)
        assert (device.heard(), device.is_closed) == (codec.connack(5), True)
        device.leave()
        assert self.said("mqtt.disconnect") is None
        waits, silent = Device(self), Device(self)
        waits.say(CONNECT)
        self.turn(CONNECT_SECONDS + 1)
        assert waits.is_closed
        assert silent.is_closed

    def test_before_a_connect_and_after_it_another_one_closes(self):
        for data in (PUBLISH, b"\xc0\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x10\x10\x00\x04MQTT\x05\x02"):
            device = Device(self)
            device.say(data + bytes(100))
            assert device.is_closed, data
        device = self.connected()
        device.say(CONNECT)
        assert device.is_closed

    def test_what_a_client_said_early_waits_for_the_consumer(self):
        device = Device(self)
        device.say(CONNECT + PUBLISH + b"\xc0\x00")
        assert self.said("mqtt.receive") is None
        assert device.transport.producerState == "paused"
        self.answer(self.said("mqtt.connect"), accept=True)
        assert self.said("mqtt.receive")["payload"] == b"one"
        assert device.heard() == codec.connack(0) + codec.puback(7) + codec.pingresp()
        assert device.transport.producerState == "producing"

    def test_a_publish_is_acknowledged_when_the_layer_has_it(self):
        device = self.connected()
        device.say(PUBLISH)
        message = self.said("mqtt.receive")
        assert (message["topic"], message["payload"], message["qos"]) == ("a", b"one", 1)
        assert device.heard() == codec.puback(7)

    def test_while_the_layer_is_away_qos_1_waits_and_qos_0_is_lost(self):
        device = self.connected()
        self.port.lose()
        device.say(b"\x30\x05\x00\x01aon" * 2000 + PUBLISH)
        assert device.transport.producerState == "paused"
        self.turn(RETRY_SECONDS * 3)
        self.port.restore()
        self.turn()
        self.turn(RETRY_SECONDS)
        assert device.heard() == codec.puback(7)
        assert self.said("mqtt.receive")["payload"] == b"one"
        assert self.said("mqtt.receive") is None

    def test_a_layer_that_stays_away_costs_the_connection(self):
        device = self.connected()
        self.port.lose()
        device.say(PUBLISH)
        for _ in range(RETRIES):
            assert not device.is_closed
            self.turn(RETRY_SECONDS)
        assert device.is_closed
        assert device.heard() == b""

    def test_what_is_said_to_all_reaches_who_has_subscribed(self):
        device, reply_channel = self.subscribed(b"a/#")
        other = self.connected(CONNECT.replace(b"lamp", b"door"))
        self.layer.group_add("mqtt", reply_channel)
        self.layer.group_add("mqtt", self.server.places[0].reply_channel(other.protocol.local))
        self.turn()
        self.layer.send_group("mqtt", {"topic": "a/b", "payload": b"x", "qos": 1})
        self.turn()
        assert device.heard() == codec.publish(Publish("a/b", b"x", 1, False, 1))
        assert other.heard() == b""
        device.say(b"\xa2\x07\x00\x02\x00\x03a/#")
        assert device.heard() == codec.unsuback(2)

    def test_a_will_is_published_unless_the_client_said_goodbye(self):
        device = self.connected(FULL_CONNECT)
        device.leave()
        message = self.said("mqtt.receive")
        assert (message["topic"], message["payload"], message["will"]) == ("lamp/x", b"gone", True)
        assert self.said("mqtt.disconnect")["client_id"] == "lamp"
        device = self.connected(FULL_CONNECT)
        device.say(b"\xe0\x00")
        assert device.is_closed
        device.leave()
        assert self.said("mqtt.receive") is None
        assert self.said("mqtt.disconnect")["client_id"] == "lamp"

    def test_a_second_connection_of_a_client_ends_the_first(self):
        first = self.connected()
        second = self.connected()
        assert (first.is_closed, second.is_closed) == (True, False)
        first.leave()
        third = self.connected()
        assert (second.is_closed, third.is_closed) == (True, False)

    def test_who_is_silent_for_too_long_or_does_not_read_is_cut_off(self):
        device = self.connected()
        self.turn(89)
        device.say(b"\xc0\x00")
        self.turn(89)
        assert not device.is_closed
        self.turn(2)
        assert device.is_closed
        slow = self.connected()
        slow.transport.producer.pauseProducing()
        self.turn(SLOW_SECONDS - 1)
        slow.transport.producer.resumeProducing()
        self.turn(SLOW_SECONDS)
        assert not slow.is_closed
        slow.transport.producer.pauseProducing()
        self.turn(SLOW_SECONDS)
        assert slow.is_closed

    def test_there_are_only_so_many_clients(self):
        self.server.clients = dict.fromkeys(range(MAX_CLIENTS))
        assert MqttFactory(self.server).buildProtocol(None) is None

    def test_when_it_ends_clients_are_closed_and_waited_for(self):
        device, ended = self.connected(), []
        self.server.stop(lambda: ended.append(True))
        assert device.is_closed
        self.turn(0.2)
        assert ended == []
        device.leave()
        for _ in range(10):
            self.turn(0.1)
        assert ended == [True]
