"""The channel layer over RabbitMQ."""

from __future__ import annotations

from headrace_asgi.errors import ConfigurationError

try:
    from .layer import RabbitMQChannelLayer
except ImportError as error:
    if (error.name or "").partition(".")[0] != "pika":
        raise
    raise ConfigurationError(
        "RabbitMQChannelLayer needs a package that is not installed (pika); pip install headrace[rabbitmq]"
    ) from error

__all__ = ["RabbitMQChannelLayer"]
