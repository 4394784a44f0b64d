from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from headrace.synchronous import AsyncConsumer, require_synchronous


async def later(message: Any) -> None:
    """Never awaited."""


def now(message: Any) -> None:
    """Called."""


@pytest.mark.parametrize("consumer", [now, partial(now), print, async_to_sync(later), dict])
def test_what_does_its_work_when_it_is_called_is_let_through(consumer: Any) -> None:
    require_synchronous(consumer)


@pytest.mark.parametrize("consumer", [later, partial(later)])
def test_what_would_have_to_be_awaited_is_refused_under_its_name(consumer: Any) -> None:
    with pytest.raises(AsyncConsumer, match="The consumer chat-said is an async function"):
        require_synchronous(consumer, "chat-said")
