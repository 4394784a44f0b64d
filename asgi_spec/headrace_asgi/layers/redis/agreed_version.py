"""What both executors do with the version of entries that was agreed on."""

from __future__ import annotations

import logging

from headrace_asgi.log_limit import LogLimit, left_out_note

from .plan.plan import Plan
from .plan.versions import Agreed

__all__ = ["heard_versions"]

log = logging.getLogger("headrace.layer")
_complaints = LogLimit()


def heard_versions(plan: Plan, agreed: Agreed, label: str) -> None:
    """Take in what was agreed on; say in the log, once a minute, that this process cannot read it."""
    plan.versions.heard(agreed)
    refusal = plan.versions.refusal(agreed)
    left_out = _complaints.ask(label) if refusal else None
    if left_out is not None:
        log.error("At %s %s%s", label, refusal, left_out_note(left_out))
