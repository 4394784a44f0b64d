"""Settings of the example. The environment may say:

- `MQTT_REDIS_URL`: where Redis is (redis://127.0.0.1:6379)
- `MQTT_DATABASE`: the file of the database (db.sqlite3 beside manage.py)
- `MQTT_SECRET_KEY`, `MQTT_ALLOWED_HOSTS`: for production
"""

import os
from pathlib import Path

from mqtt_layer import OPTIONS

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("MQTT_SECRET_KEY", "an-example-and-not-a-secret")
DEBUG = "MQTT_SECRET_KEY" not in os.environ
ALLOWED_HOSTS = os.environ.get("MQTT_ALLOWED_HOSTS", "").split()
INSTALLED_APPS = ["headrace", "django.contrib.auth", "django.contrib.contenttypes", "devices"]
ROOT_URLCONF = "mqttsite.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("MQTT_DATABASE", BASE_DIR / "db.sqlite3"),
        # Several workers write.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "headrace_asgi.RedisChannelLayer",
        "CONFIG": OPTIONS,
        "ROUTING": "devices.routing.routing",
    }
}
