"""Packets as bytes and back."""

import contextlib
import random
import unittest

from mqtt_bridge import codec
from mqtt_bridge.codec import (
    Connect,
    Disconnect,
    MalformedPacket,
    PacketReader,
    Pingreq,
    Puback,
    Publish,
    Subscribe,
    Unsubscribe,
    WrongVersion,
)
from mqtt_topics import matches

CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04lamp"
FULL_CONNECT = (
    b"\x10\x2c\x00\x04MQTT\x04\xee\x00\x3c\x00\x04lamp\x00\x06lamp/x\x00\x04gone\x00\x04name\x00\x06secret"
)
#: Bytes of a client, and the packet that they are.
PACKETS = [
    (CONNECT, Connect("lamp", True, 60)),
    (
        FULL_CONNECT,
        Connect("lamp", True, 60, "name", b"secret", Publish("lamp/x", b"gone", qos=1, retain=True)),
    ),
    (b"\x30\x05\x00\x01aon", Publish("a", b"on")),
    (b"\x3b\x05\x00\x01a\x00\x07", Publish("a", b"", qos=1, retain=True, packet_id=7)),
    (b"\x40\x02\x00\x07", Puback(7)),
    (b"\x82\x0b\x00\x01\x00\x01#\x01\x00\x02+/\x02", Subscribe(1, (("#", 1), ("+/", 2)))),
    (b"\xa2\x05\x00\x02\x00\x01a", Unsubscribe(2, ("a",))),
    (b"\xc0\x00", Pingreq()),
    (b"\xe0\x00", Disconnect()),
]
MALFORMED = {
    "QoS 2": b"\x34\x05\x00\x01a\x00\x07",
    "QoS 3": b"\x36\x05\x00\x01a\x00\x07",
    "a wildcard in a name": b"\x30\x03\x00\x01#",
    "an empty name": b"\x30\x02\x00\x00",
    "a packet identifier of 0": b"\x32\x05\x00\x01a\x00\x00",
    "a reserved kind": b"\x00\x00",
    "an answer of a server": b"\x20\x02\x00\x00",
    "wrong flags": b"\x80\x06\x00\x01\x00\x01a\x00",
    "no filters": b"\x82\x02\x00\x01",
    "a QoS that is none": b"\x82\x06\x00\x01\x00\x01a\x03",
    "a filter with # before its end": b"\x82\x08\x00\x01\x00\x03#/a\x00",
    "a filter with a + within a level": b"\x82\x07\x00\x01\x00\x02a+\x00",
    "a length of five bytes": b"\x30\xff\xff\xff\xff",
    "a text that is no UTF-8": b"\x30\x03\x00\x01\xff",
    "a null character": b"\x30\x03\x00\x01\x00",
    "a packet that ends within a field": b"\x40\x01\x00",
    "a packet that goes on": b"\xc0\x01\x00",
    "a password without a name": b"\x10\x10\x00\x04MQTT\x04\x42\x00\x3c\x00\x04lamp",
    "a reserved flag": b"\x10\x10\x00\x04MQTT\x04\x03\x00\x3c\x00\x04lamp",
    "a large packet": b"\x30\x81\x08",
}


class ReaderTests(unittest.TestCase):
    def test_each_packet_of_a_client_is_read(self):
        for data, packet in PACKETS:
            with self.subTest(packet):
                assert PacketReader(1024).feed(data) == [packet]

    def test_packets_are_read_however_their_bytes_are_cut(self):
        stream = b"".join(data for data, _ in PACKETS)
        for seed in range(50):
            source, reader, found = random.Random(seed), PacketReader(1024), []
            at = 0
            while at < len(stream):
                step = source.randrange(1, 12)
                found += reader.feed(stream[at : at + step])
                at += step
            assert found == [packet for _, packet in PACKETS], seed

    def test_what_is_malformed_is_refused(self):
        for what, data in MALFORMED.items():
            with self.subTest(what), self.assertRaises(MalformedPacket):  # noqa: PT027 (unittest)
                PacketReader(1024).feed(data)

    def test_another_version_is_told_apart(self):
        for start in (b"\x10\x10\x00\x04MQTT\x05\x02", b"\x10\x12\x00\x06MQIsdp\x03\x02"):
            data = start + b"\x00\x3c\x00\x04lamp"
            with self.assertRaises(WrongVersion):  # noqa: PT027 (unittest)
                PacketReader(1024).feed(data)

    def test_random_bytes_are_packets_or_malformed_and_nothing_else(self):
        for seed in range(2000):
            source = random.Random(seed)
            data = bytearray(source.choice(PACKETS)[0])
            for _ in range(source.randrange(1, 4)):
                data[source.randrange(len(data))] = source.randrange(256)
            with contextlib.suppress(MalformedPacket):
                PacketReader(1024).feed(bytes(data))


class WriterTests(unittest.TestCase):
    def test_what_is_sent_is_what_the_standard_says(self):
        assert codec.connack(5) == b" \x02\x00\x05"
        assert codec.puback(258) == b"@\x02\x01\x02"
        assert codec.suback(1, [0, 1, 128]) == b"\x90\x05\x00\x01\x00\x01\x80"
        assert codec.unsuback(2) == b"\xb0\x02\x00\x02"
        assert codec.pingresp() == b"\xd0\x00"

    def test_a_message_is_the_same_when_it_is_read_again(self):
        for size in (0, 1, 121, 122, 127, 128, 16_383, 16_384, 70_000):
            for message in (Publish("ä/b", bytes(size)), Publish("a", bytes(size), 1, True, 65_535)):
                assert PacketReader(100000).feed(codec.publish(message)) == [message]


class TopicTests(unittest.TestCase):
    def test_filters_are_about_what_the_standard_says(self):
        for wanted, topic in (
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("+/b", "a/b"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("#", "a/b"),
            ("+/+", "/b"),
            ("a/+/c", "a//c"),
            ("$SYS/#", "$SYS/x"),
        ):
            assert matches(wanted, topic), (wanted, topic)
        for wanted, topic in (
            ("a/b", "a"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("a/b/#", "a"),
            ("+", "/a"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a", "A"),
        ):
            assert not matches(wanted, topic), (wanted, topic)
