"""The application that the comparison with other servers measures."""

import os

DEBUG = False
SECRET_KEY = "bench-only"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "bench.urls"
INSTALLED_APPS = ["headrace"]
MIDDLEWARE = []
if os.environ.get("BENCH_MW") == "default":  # what startproject writes
    INSTALLED_APPS += [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ]
    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
#: One port, or several with commas between them.
PORTS = os.environ.get("BENCH_REDIS_PORT", "6390").split(",")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "headrace_asgi.RedisChannelLayer",
        "ROUTING": "bench.routing.routes",
        "CONFIG": {"hosts": [f"redis://127.0.0.1:{port}/0" for port in PORTS]},
    }
}
LOGGING_CONFIG = None
