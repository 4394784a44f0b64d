"""What an error of Redis means, and what a broken connection leaves open: one table for both executors.

Pure. A command that Redis refuses was not executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from headrace_asgi.errors import (
    ChannelFull,
    HeadraceError,
    KeySpoilt,
    LayerRefused,
    LayerUnavailable,
    OutcomeUnknown,
)

from .command import RedisCommand
from .faults import SETTING
from .resp import ReplyError

__all__ = [
    "ACL",
    "IN_CLUSTER",
    "NO_REPLICA",
    "OUT_OF_MEMORY",
    "REACTIONS",
    "Reaction",
    "Refusal",
    "connection_lost",
    "login_refused",
    "may_repeat",
    "not_understood",
    "reaction_to",
    "refusal_of",
]

#: What a user of an ACL must be allowed to do, and with which keys.
ACL = "~hr*:* +@read +@write +@blocking +@scripting +@connection +client|kill +client|unblock +info +time"


class Reaction(Enum):
    """What to do about an error answer.

    WHOLE  Redis does not know the script: send it whole, once
    LEAN   Redis is out of memory: ask for what does not need any, where there is such a thing
    HOLD   Redis cannot serve at present: ask again in a little while
    LEAVE  this connection leads to a server that is not the one to ask, or does not know us: the same, over
           another one
    FAIL   it will not be different the next time: the error is for who asked
    """

    WHOLE = auto()
    LEAN = auto()
    HOLD = auto()
    LEAVE = auto()
    FAIL = auto()


#: By the first word of the error; FAIL for all others.
REACTIONS = {
    "NOSCRIPT": Reaction.WHOLE,
    "OOM": Reaction.LEAN,
    # Redis starts, runs a long script, moves slots, lacks replicas, or cannot write to its disk.
    "LOADING": Reaction.HOLD,
    "BUSY": Reaction.HOLD,
    "TRYAGAIN": Reaction.HOLD,
    "NOREPLICAS": Reaction.HOLD,
    "MISCONF": Reaction.HOLD,
    # It failed over, or gave its slots away: the name may lead to another server by now.
    "READONLY": Reaction.LEAVE,
    "MASTERDOWN": Reaction.LEAVE,
    "UNBLOCKED": Reaction.LEAVE,
    "ASK": Reaction.LEAVE,
    "MOVED": Reaction.LEAVE,
    # The node is cut off from the others, or somebody else is; one of those may serve by now.
    "CLUSTERDOWN": Reaction.LEAVE,
    # A new connection logs in, or learns that its password is not good any more.
    "NOAUTH": Reaction.LEAVE,
    "WRONGPASS": Reaction.LEAVE,
}
#: Codes that only somebody who changes a setting, ours or that of Redis, can end.
_LOGIN = ("NOAUTH", "WRONGPASS")
#: A key holds another kind of value than we put there; Redis has no code for the second.
_WRONG_TYPE = "WRONGTYPE"
_NO_NUMBER = ("is not an integer", "would overflow", "is not a valid float")
#: Keys that an error names, at most: a script has a dozen.
_KEYS_SHOWN = 12

#: What people do about a Redis whose memory is full.
OUT_OF_MEMORY = "raise its maxmemory, or see what fills it"
NO_REPLICA = f"is a read-only replica; name the primary in {SETTING}"
IN_CLUSTER = (
    f"is a node of a Cluster; in {SETTING} write that, with some of its nodes: "
    "redis+cluster://host1:7000,host2:7000/"
)
_SLOT_MOVES = "the slot of this place moves, or has moved"
#: What an ACL forbids inside of a script has no code of its own: the words of Valkey, and those of Redis 7.0.
_NOPERM_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't run")
#: What people do about an error, by its first word.
_REMEDIES = {
    "NOPERM": f"a user of an ACL needs: {ACL}",
    "READONLY": f"it {NO_REPLICA}",
    "MASTERDOWN": f"it {NO_REPLICA}",
    "MOVED": _SLOT_MOVES,
    "ASK": _SLOT_MOVES,
    "TRYAGAIN": _SLOT_MOVES,
    "CLUSTERDOWN": "a node that had slots of the Cluster is gone, or they were given to none: see "
    "`redis-cli --cluster check`, and cluster-require-full-coverage in Redis",
    "NOREPLICAS": "see to its replicas, or set min-replicas-to-write to 0 in Redis",
    "MISCONF": "see to the disk of Redis, or set stop-writes-on-bgsave-error to no",
}


@dataclass(slots=True)
class Refusal:
    """What to do about one error answer: ask `command` next if there is one, else `error` is the outcome.

    Whoever holds a command gives it the error too, when it has waited for too long.
    """

    reaction: Reaction
    error: HeadraceError
    command: RedisCommand | None = None


def reaction_to(answer: ReplyError) -> Reaction:
    """What to do about an error answer, whatever was asked."""
    return REACTIONS.get(_code(answer), Reaction.FAIL)


def refusal_of(answer: ReplyError, command: RedisCommand, label: str) -> Refusal:
    """What the error answer to a command of ours means; `label` is where Redis is."""
    reaction = reaction_to(answer)
    if reaction is Reaction.WHOLE:
        if command.script is not None:
            return Refusal(reaction, _refused(answer, command, label), command.whole())
        reaction = Reaction.FAIL
    elif reaction is Reaction.LEAN:
        full = ChannelFull(f"Redis at {label} is out of memory: {answer}; {OUT_OF_MEMORY}")
        if command.lean is not None:
            return Refusal(reaction, full, command.lean)
        return Refusal(Reaction.FAIL, full)
    return Refusal(reaction, _refused(answer, command, label))


def _refused(answer: ReplyError, command: RedisCommand, label: str) -> LayerUnavailable:
    code = _code(answer)
    if code in _LOGIN:
        return login_refused(label, answer)
    said = f"Redis at {label} refused {command.name}: {answer}"
    if code in _REMEDIES:
        said += f"; {_REMEDIES[code]}"
    if code == _WRONG_TYPE or any(sign in str(answer) for sign in _NO_NUMBER):
        return KeySpoilt(said + _spoilt(command))
    return LayerRefused(said) if code == "NOPERM" else LayerUnavailable(said)


def not_understood(answer: object, command: RedisCommand, label: str, error: Exception) -> OutcomeUnknown:
    """The outcome of a command whose answer is none that it can have: something else wrote its keys."""
    return OutcomeUnknown(
        f"Redis at {label} answered {command.name} with {answer!r:.100}, which means nothing ({error!r:.100})"
        + _spoilt(command)
    )


def _spoilt(command: RedisCommand) -> str:
    keys = command.keys
    listed = ", ".join(keys[:_KEYS_SHOWN]) + (", …" if len(keys) > _KEYS_SHOWN else "")
    return (
        f"; something else wrote {'this key' if len(keys) == 1 else 'one of these keys'}, delete it: {listed}"
    )


def login_refused(label: str, answer: Exception) -> LayerRefused:
    """The error for a wrong or missing password, or one that Redis does not have."""
    if "without any password" in str(answer):
        remedy = f"it has none: leave the password out of {SETTING}, or set requirepass in Redis"
    else:
        remedy = f"check user and password in {SETTING}, as in redis://user:password@host:port/db"
    return LayerRefused(f"Redis at {label} refused the login ({answer}); {remedy}")


def connection_lost(label: str, why: str, written: bool) -> LayerUnavailable:
    """The outcome of a command whose connection broke; if it was written, nobody knows it."""
    said = f"the connection to Redis at {label} broke: {why}"
    return OutcomeUnknown(said) if written else LayerUnavailable(said)


def may_repeat(command: RedisCommand, written: bool) -> bool:
    """Whether a command whose connection broke may be sent again."""
    return command.repeat or not written


def _code(answer: Exception) -> str:
    said = str(answer)
    code = said.split(" ", 1)[0]
    return "NOPERM" if code == "ERR" and any(sign in said for sign in _NOPERM_IN_SCRIPT) else code
