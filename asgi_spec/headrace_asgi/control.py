"""Control entries: notes to an interface process on its own queue, told apart by a flag of the envelope.

They are sent only to names that begin with `hr1.`, ignore the queue's capacity (there is at most a handful
per socket), and an unknown kind is counted and ignored, so that newer workers may add some. See
docs/protocol.md, section 5.
"""

from __future__ import annotations

from .envelope import Message, encode, pack_message

__all__ = [
    "ADD",
    "BELL",
    "CLOSE",
    "CREDIT",
    "CREDIT_ASKED",
    "DISCARD",
    "FAILED",
    "FORGOTTEN",
    "FORGOTTEN_ENTRY",
    "GROUP",
    "LAPSED",
    "MEMBERS",
    "RUNNING",
    "VERDICT",
    "WAKE",
    "note",
]

#: {local, ordered: True | False | "slight"}: whether the socket's messages are ordered; before any accept.
VERDICT = "verdict"
#: {group, local}: a worker registered the group for this process; the socket is a member from now on.
ADD = "add"
#: {group, local}: the socket leaves the group.
DISCARD = "discard"
#: {group, packed, more}: deliver to every member of the group in this process, and of the further groups in
#: `more` if there are some, once to each; it is packed as it was said.
GROUP = "group"
#: {group, answer, count}: put the members' full names on the single-reader channel `answer`, or only how many
#: they are if `count` is true.
MEMBERS = "members?"
#: {local, code}: close the socket; a reply to it was refused, so what it received has a gap.
CLOSE = "close"
#: {local}: the client's message has been running for over a second: the queue deadline is met.
RUNNING = "running"
#: {local, status, reason}: nobody will answer this client: no route, or the consumer failed.
FAILED = "failed"
#: {local, bytes}: so many bytes of the request's streamed body were read.
CREDIT = "credit"
#: {local, channel}: how far has the client read its response? Answered on the single-reader `channel`.
CREDIT_ASKED = "credit?"
#: {local}: the message in flight of an ordered socket was lost with its worker: one with strict order closes.
LAPSED = "lapsed"
#: {}: somebody found this process unregistered: Redis lost its data. It should register itself at once.
FORGOTTEN = "forgotten"
#: {}: from a process to itself: what it reads now is the last before it hands its queue over.
WAKE = "wake"
#: {}: a message waits beside this list of an acknowledged channel, or for who moves what is due. The one note
#: on a list of messages.
BELL = "bell"


def note(kind: str, **values: object) -> Message:
    """A control message of `kind`."""
    return {"control": kind, **values}


#: The note FORGOTTEN as an entry, which every push carries and a script delivers. It is never sealed: it only
#: makes its reader ask Redis at once what it asks every few seconds.
FORGOTTEN_ENTRY = encode(pack_message(note(FORGOTTEN)), control=True)
