"""`--check`: says what would run and asks the layer, without listening anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi.contract import ChannelLayer
from headrace_asgi.errors import ConfigurationError, LayerUnavailable
from headrace_asgi.layers.from_config import interface_ports
from headrace_asgi.limits import ANNOUNCED_SECONDS

from .deadlines import OFF, Deadlines, rows
from .options import changed_limits
from .settings import InterfaceSettings

__all__ = ["deadlines_line", "rehearse"]


def rehearse(
    reactor: Any,
    layer: ChannelLayer,
    settings: InterfaceSettings,
    make_endpoints: Callable[[Any], Sequence[tuple[str, Any]]],
    make_admin: Callable[[Any], tuple[str, Any]] | None,
    say: Callable[[str], None],
    certificates: Sequence[str] = (),
) -> None:
    """Say what would run, a line at a time, and see whether the layer answers; may block for some seconds.

    `certificates` are lines about what TLS is spoken with. The reactor is not run. Raises ConfigurationError
    for what could not start, and where the layer does not answer.
    """
    listening = [name for name, _ in make_endpoints(reactor)]
    admin = "" if make_admin is None else f"; {make_admin(reactor)[0]}"
    where = ", ".join(port.label for port in interface_ports(layer, reactor))
    say(f"It would listen on {', '.join(listening)}{admin}.")
    for certificate in certificates:
        say(f"Certificate: {certificate}")
    say(f"The channel layer is {where}.")
    say(f"Limits other than the defaults: {', '.join(changed_limits(settings)) or 'none'}.")
    say(f"Deadlines: {deadlines_line(settings.deadlines)}.")
    say(_asked(layer))


def deadlines_line(deadlines: Deadlines) -> str:
    """Every deadline by its option; one that is not as by default says what that would be."""
    told = []
    for name, default, row in rows():
        seconds = getattr(deadlines, name)
        changed = "" if seconds == default else f" (not {default:g} s)"
        told.append(f"{row.option} {'off' if seconds == OFF else f'{seconds:g} s'}{changed}")
    return ", ".join(told)


def _asked(layer: ChannelLayer) -> str:
    """What the layer says. A layer that is merely away is usable later, and not now."""
    layer.ensure_usable()
    try:
        takers = layer.takers()
    except LayerUnavailable as error:
        raise ConfigurationError(f"the channel layer does not answer: {error}") from None
    finally:
        layer.close()
    now = sorted(channel for channel, seconds in takers.items() if seconds <= ANNOUNCED_SECONDS)
    return f"The channel layer answers; workers take {', '.join(now) or 'nothing now: is one running?'}"
