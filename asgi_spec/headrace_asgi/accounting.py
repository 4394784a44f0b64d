"""What becomes of the messages of a channel: which counters there are, and how they add up.

    offered = sent + shed
    sent    = taken + pending + unknown
    taken   = done + failed + expired + stale + dead + lost + unreadable + running

`taken` is net of what was given back or put back for later. `running` and `unknown` are computed, nobody
counts them: `unknown` is what was popped and never read by anybody. Of an acknowledged channel every step is
part of a script at the layer, so nothing can be unknown:

    sent    = done + dead + expired + unreadable + outstanding

See docs/protocol.md, section 15. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["COUNTED", "DEAD", "DONE", "EXPIRED", "FAILED", "LOST", "STALE", "TAKEN", "UNREADABLE", "account"]

#: Counted by who takes: popped from the channel, less what was put back.
TAKEN = "taken"
#: How a message ended that was taken. Its consumer returned, or raised something.
DONE, FAILED = "done", "failed"
#: It was too late; somebody else had moved on; it was put off too often, or could not be put back; the
#: process that ran it died, or could not give it back; its bytes are no message.
EXPIRED, STALE, DEAD, LOST, UNREADABLE = "expired", "stale", "dead", "lost", "unreadable"
_ENDS = (DONE, FAILED, EXPIRED, STALE, DEAD, LOST, UNREADABLE)
#: Every counter of a channel. What was sent, refused, in the mailbox of a socket whose connect nobody saw,
#: and put off at its time because the channel was full, is counted where that happens.
COUNTED = ("sent", "shed", "dropped", "postponed", TAKEN, *_ENDS)
_OF_ACKNOWLEDGED = ("sent", "shed", "dropped", "postponed", DONE, EXPIRED, DEAD, UNREADABLE)


def account(counted: Mapping[str, int], pending: int, is_acknowledged: bool = False) -> dict[str, int]:
    """The statistics of a channel in which `pending` messages wait: counters, and what they come to.

    Exact when nothing is on its way. `unknown` below 0 says that the counting began anew meanwhile.
    """
    kinds = _OF_ACKNOWLEDGED if is_acknowledged else COUNTED
    answer = {kind: counted.get(kind, 0) for kind in kinds}
    answer["offered"] = answer["sent"] + answer["shed"]
    answer["pending"] = pending
    if is_acknowledged:
        answer["outstanding"] = answer["sent"] - sum(answer[end] for end in _ENDS if end in kinds)
    else:
        answer["running"] = answer[TAKEN] - sum(answer[end] for end in _ENDS)
        answer["unknown"] = answer["sent"] - answer[TAKEN] - pending
    return answer
