"""The calls of Daily's API that we make, and how often we may make them."""

from __future__ import annotations

import attrs

from transport_trio.connectors.ratelimit import Limit


@attrs.frozen(kw_only=True)
class DailyLimits:
    """What we allow ourselves for each route. Daily counts per key and route, in three tiers that concern us."""

    default: Limit
    slow: Limit
    start: Limit = Limit(count=4, period_s=5.0)
    batch: Limit = Limit(count=9, period_s=30.0)


# Somewhat under Daily's 100 in 5 s, 50 in 30 s, 5 in 5 s, 10 in 30 s: requests do not arrive as evenly as we send them.
DAILY_LIMITS = DailyLimits(default=Limit(count=90, period_s=5.0), slow=Limit(count=45, period_s=30.0))

# For domains whose limits Daily has lifted, and for benchmarks: far beyond what one process can send.
_UNLIMITED = Limit(count=1000, period_s=0.01)
NO_LIMITS = DailyLimits(default=_UNLIMITED, slow=_UNLIMITED, start=_UNLIMITED, batch=_UNLIMITED)


@attrs.frozen(kw_only=True)
class Operation:
    """One kind of request. `name` is its metric label, `path` a template with the name of a room or other item in it.

    Requests of one `purpose` follow each other and share connections.

    `repeatable`: a request that may already have taken effect can be sent again without harm.
    `answer_max_bytes`: an answer that is longer is given up.
    `of_room`: a 404 says that there is no such room.
    `of_item`: a 404 says that there is no such item.
    """

    name: str
    method: str
    path: str
    purpose: str = "making"
    tier: str = "default"
    repeatable: bool = True
    of_room: bool = False
    of_item: bool = False
    # Some 30,000 people in one room; anything longer is not Daily's.
    answer_max_bytes: int = 8 * 1024 * 1024


CHECK = Operation(name="check", method="GET", path="/")
CREATE_ROOM = Operation(name="create_room", method="POST", path="/rooms", repeatable=False)
EXTEND_ROOM = Operation(name="extend_room", method="POST", path="/rooms/{room}", of_room=True)
FIND_ROOM = Operation(name="find_room", method="GET", path="/rooms/{room}", purpose="cleaning", of_room=True)
# Daily's documents disagree about this one's tier; the stricter reading harms nobody, deletions can wait.
# It names a room by its name alone: after a lost answer, a repeat could hit the next room of that name.
DELETE_ROOM = Operation(
    name="delete_room",
    method="DELETE",
    path="/rooms/{room}",
    purpose="cleaning",
    tier="slow",
    repeatable=False,
    of_room=True,
)
LIST_ROOMS = Operation(name="list_rooms", method="GET", path="/rooms", purpose="sweeping")
# All or nothing. After a lost answer, a repeat could hit the next room of one of the names.
DELETE_ROOMS = Operation(
    name="delete_rooms", method="DELETE", path="/batch/rooms", purpose="sweeping", tier="batch", repeatable=False
)
# A token is a signed text that Daily does not keep: minting a second one leaves nothing behind.
CREATE_TOKEN = Operation(name="create_token", method="POST", path="/meeting-tokens")
READ_TOKEN = Operation(name="read_token", method="GET", path="/meeting-tokens/{item}")
PRESENCE = Operation(name="presence", method="GET", path="/rooms/{room}/presence", purpose="looking", of_room=True)
# Some 240,000 people.
DOMAIN_PRESENCE = Operation(
    name="domain_presence", method="GET", path="/presence", purpose="looking", answer_max_bytes=64 * 1024 * 1024
)

# Analytics: two in a second for the whole domain.
LIST_MEETINGS = Operation(name="list_meetings", method="GET", path="/meetings", purpose="looking back", tier="slow")

LIST_WEBHOOKS = Operation(name="list_webhooks", method="GET", path="/webhooks", purpose="hearing")
# Daily sends its test before it stores anything; a second one of the same address is refused or looked for.
CREATE_WEBHOOK = Operation(name="create_webhook", method="POST", path="/webhooks", purpose="hearing", repeatable=False)
UPDATE_WEBHOOK = Operation(name="update_webhook", method="POST", path="/webhooks/{item}", purpose="hearing")
DELETE_WEBHOOK = Operation(name="delete_webhook", method="DELETE", path="/webhooks/{item}", purpose="hearing")

# A second eject would find those gone whom the first put out, and name nobody; a second message would be read twice.
EJECT = Operation(
    name="eject", method="POST", path="/rooms/{room}/eject", purpose="people", repeatable=False, of_room=True
)
SEND_MESSAGE = Operation(
    name="send_message",
    method="POST",
    path="/rooms/{room}/send-app-message",
    purpose="people",
    repeatable=False,
    of_room=True,
)
UPDATE_PERMISSIONS = Operation(
    name="update_permissions", method="POST", path="/rooms/{room}/update-permissions", purpose="people", of_room=True
)

# A second start with the same instance would be refused as running, and a second stop as not running.
START_RECORDING = Operation(
    name="start_recording",
    method="POST",
    path="/rooms/{room}/recordings/start",
    purpose="people",
    tier="start",
    repeatable=False,
    of_room=True,
)
UPDATE_RECORDING = Operation(
    name="update_recording", method="POST", path="/rooms/{room}/recordings/update", purpose="people", of_room=True
)
STOP_RECORDING = Operation(
    name="stop_recording",
    method="POST",
    path="/rooms/{room}/recordings/stop",
    purpose="people",
    repeatable=False,
    of_room=True,
)
LIST_RECORDINGS = Operation(name="list_recordings", method="GET", path="/recordings", purpose="keeping", tier="slow")
FIND_RECORDING = Operation(
    name="find_recording", method="GET", path="/recordings/{item}", purpose="keeping", of_item=True
)
RECORDING_LINK = Operation(
    name="recording_link", method="GET", path="/recordings/{item}/access-link", purpose="keeping", of_item=True
)
DELETE_RECORDING = Operation(
    name="delete_recording", method="DELETE", path="/recordings/{item}", purpose="keeping", of_item=True
)

START_TRANSCRIPTION = Operation(
    name="start_transcription",
    method="POST",
    path="/rooms/{room}/transcription/start",
    purpose="people",
    repeatable=False,
    of_room=True,
)
UPDATE_TRANSCRIPTION = Operation(
    name="update_transcription",
    method="POST",
    path="/rooms/{room}/transcription/update",
    purpose="people",
    of_room=True,
)
STOP_TRANSCRIPTION = Operation(
    name="stop_transcription",
    method="POST",
    path="/rooms/{room}/transcription/stop",
    purpose="people",
    repeatable=False,
    of_room=True,
)

START_LIVE_STREAM = Operation(
    name="start_live_stream",
    method="POST",
    path="/rooms/{room}/live-streaming/start",
    purpose="people",
    tier="start",
    repeatable=False,
    of_room=True,
)
UPDATE_LIVE_STREAM = Operation(
    name="update_live_stream",
    method="POST",
    path="/rooms/{room}/live-streaming/update",
    purpose="people",
    of_room=True,
)
STOP_LIVE_STREAM = Operation(
    name="stop_live_stream",
    method="POST",
    path="/rooms/{room}/live-streaming/stop",
    purpose="people",
    repeatable=False,
    of_room=True,
)

LIST_TRANSCRIPTS = Operation(name="list_transcripts", method="GET", path="/transcript", purpose="keeping")
FIND_TRANSCRIPT = Operation(
    name="find_transcript", method="GET", path="/transcript/{item}", purpose="keeping", of_item=True
)
TRANSCRIPT_LINK = Operation(
    name="transcript_link", method="GET", path="/transcript/{item}/access-link", purpose="keeping", of_item=True
)
DELETE_TRANSCRIPT = Operation(
    name="delete_transcript", method="DELETE", path="/transcript/{item}", purpose="keeping", of_item=True
)

OPERATIONS = (
    *(
        CHECK,
        CREATE_ROOM,
        EXTEND_ROOM,
        FIND_ROOM,
        DELETE_ROOM,
        CREATE_TOKEN,
        READ_TOKEN,
        PRESENCE,
        DOMAIN_PRESENCE,
        LIST_MEETINGS,
    ),
    *(LIST_ROOMS, DELETE_ROOMS),
    *(LIST_WEBHOOKS, CREATE_WEBHOOK, UPDATE_WEBHOOK, DELETE_WEBHOOK),
    *(EJECT, SEND_MESSAGE, UPDATE_PERMISSIONS),
    *(START_RECORDING, UPDATE_RECORDING, STOP_RECORDING),
    *(START_TRANSCRIPTION, UPDATE_TRANSCRIPTION, STOP_TRANSCRIPTION),
    *(START_LIVE_STREAM, UPDATE_LIVE_STREAM, STOP_LIVE_STREAM),
    *(LIST_TRANSCRIPTS, FIND_TRANSCRIPT, TRANSCRIPT_LINK, DELETE_TRANSCRIPT),
    *(LIST_RECORDINGS, FIND_RECORDING, RECORDING_LINK, DELETE_RECORDING),
)
