"""Settings of the project that the journeys run; the environment says which layer."""

import json
import os

SECRET_KEY = "journeys-only"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "journey.urls"
INSTALLED_APPS = ["headrace", "journey"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
TIME_ZONE = "UTC"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": os.environ.get("JOURNEY_BACKEND", "headrace_asgi.RedisChannelLayer"),
        "ROUTING": os.environ.get("JOURNEY_ROUTING", "journey.routing.routes"),
        "CONFIG": json.loads(os.environ.get("JOURNEY_CONFIG", "{}")),
    }
}
HEADRACE = {"ORIGIN_CHECK": False, **json.loads(os.environ.get("JOURNEY_HEADRACE", "{}"))}
