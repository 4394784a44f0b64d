"""Settings of the chat example: SQLite, the embedded channel layer, no other service.

Environment variables, all optional:

- `CHAT_DATA_DIR`: where the database and the uploaded files lie (default: this folder)
- `CHAT_DEBUG`: `0` switches debugging off; `CHAT_SECRET_KEY` and `CHAT_ALLOWED_HOSTS` are then needed
- `CHAT_LAYER_NAME`: name of the embedded layer (default: the project's path)
- `CHAT_REDIS_URL`: use this Redis or Valkey in place of the embedded one
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("CHAT_DATA_DIR", BASE_DIR))

DEBUG = os.environ.get("CHAT_DEBUG", "1") != "0"
if DEBUG:
    SECRET_KEY = os.environ.get("CHAT_SECRET_KEY", "insecure: only for the demo on your own machine")
else:
    SECRET_KEY = os.environ["CHAT_SECRET_KEY"]
ALLOWED_HOSTS = os.environ.get("CHAT_ALLOWED_HOSTS", "").split()

INSTALLED_APPS = [
    # First, so that its `runserver` is the one that runs.
    "headrace",
    "chat",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "chat.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "chatsite.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "chat.sqlite3",
        # Several workers write: wait for the lock in place of failing, and let readers go on meanwhile.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "rooms"
LOGOUT_REDIRECT_URL = "login"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
MEDIA_ROOT = DATA_DIR / "media"
TIME_ZONE = "UTC"
USE_TZ = True

_redis_url = os.environ.get("CHAT_REDIS_URL")
_layer: dict[str, Any] = (
    {"BACKEND": "headrace_asgi.RedisChannelLayer", "CONFIG": {"hosts": [_redis_url]}}
    if _redis_url
    else {
        "BACKEND": "headrace_asgi.IPCChannelLayer",
        "CONFIG": {"name": os.environ.get("CHAT_LAYER_NAME", str(BASE_DIR))},
    }
)
CHANNEL_LAYERS = {"default": {**_layer, "ROUTING": "chat.routing.routing"}}

# Largest file that may be attached to a room, in bytes.
CHAT_UPLOAD_MAX_BYTES = 25_000_000
