"""What devices may do, message by message, without a server."""

from devices.models import Reading
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.test import override_settings

from headrace import Group
from headrace.test import ChannelTestCase, Client


# The hasher of production is slow on purpose.
@override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])
class DeviceTests(ChannelTestCase):
    def setUp(self):
        User.objects.create_user("lamp", password="secret")
        self.client = Client()

    def tell(self, channel, **content):
        """A message of the lamp's; everything that it is answered."""
        who = {"client_id": "lamp-1", "username": "lamp"}
        self.client.send_and_consume(channel, {**who, **content})
        return self.heard()

    def heard(self):
        found = []
        while (message := self.client.receive()) is not None:
            found.append(message)
        return found

    def publish(self, topic, payload, retain=False):
        return self.tell("mqtt.receive", topic=topic, payload=payload, qos=1, retain=retain, will=False)

    def test_a_device_is_let_in_with_its_password_only(self):
        assert self.tell("mqtt.connect", password=b"secret") == [{"accept": True}]
        for content in ({"password": b"guess"}, {"password": None}, {"username": None, "password": None}):
            assert self.tell("mqtt.connect", **content) == [{"refuse": 4}]

    def test_it_may_read_its_own_topics_and_hears_what_was_retained(self):
        Reading.objects.create(topic="lamp/brightness", payload=b"80")
        Reading.objects.create(topic="door/lock", payload=b"open")
        granted, retained = self.tell(
            "mqtt.subscribe", packet=3, filters=[["lamp/+", 1], ["door/#", 0], ["#", 0]]
        )
        assert granted == {"packet": 3, "granted": [["lamp/+", 1], ["door/#", 128], ["#", 128]]}
        assert (retained["topic"], retained["payload"]) == ("lamp/brightness", b"80")

    def test_what_it_says_is_told_to_devices_and_pages_and_kept_if_it_is_to_be(self):
        self.client.join_group("mqtt")
        self.client.join_group("browsers")
        said = self.publish("lamp/brightness", b"80", retain=True)
        assert {"topic": "lamp/brightness", "payload": b"80", "qos": 1} in said
        assert {"text": '{"topic": "lamp/brightness", "payload": "80"}'} in said
        self.publish("lamp/brightness", b"90", retain=True)
        self.publish("lamp/moment", b"now")
        kept = {each.topic: bytes(each.payload) for each in Reading.objects.all()}
        assert kept == {"lamp/brightness": b"90"}

    def test_pages_hear_who_comes_and_goes(self):
        self.client.join_group("browsers")
        assert {"text": '{"device": "lamp", "here": true}'} in self.tell("mqtt.connect", password=b"secret")
        assert self.tell("mqtt.disconnect") == [{"text": '{"device": "lamp", "here": false}'}]

    def test_it_may_say_nothing_in_the_name_of_another(self):
        self.client.join_group("mqtt")
        assert self.publish("door/lock", b"open", retain=True) == []
        assert not Reading.objects.exists()

    def test_the_page_has_the_last_readings(self):
        Reading.objects.create(topic="lamp/brightness", payload=b"80")
        assert Browser().get("/readings/").json() == {"lamp/brightness": "80"}

    def test_an_accepted_device_hears_what_is_said_to_all(self):
        self.tell("mqtt.connect", password=b"secret")
        Group("mqtt").send({"topic": "lamp/switch", "payload": b"on", "qos": 1})
        assert [each["payload"] for each in self.heard()] == [b"on"]
