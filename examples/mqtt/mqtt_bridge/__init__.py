"""MQTT 3.1.1 as messages: an interface server for devices, on Headrace's `Bridge`."""
