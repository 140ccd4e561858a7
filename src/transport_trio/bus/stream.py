"""Our stream: what it must look like, and what is different about one that is there already."""

from __future__ import annotations

import attrs
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from transport_trio.bus.message import SUBJECTS

STREAM = "TRANSPORT_EVENTS"
DAY_S = 86400.0
UNLIMITED = -1


@attrs.frozen(kw_only=True)
class StreamPlan:
    """The contract's stream. Only tests change its age; an operator may have reasons for another duplicate window."""

    name: str = STREAM
    max_age_s: float = 7 * DAY_S
    duplicate_window_s: float = 600.0

    def config(self) -> StreamConfig:
        return StreamConfig(
            name=self.name,
            description="Events of transport_trio, in order for each session.",
            subjects=[SUBJECTS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=self.max_age_s,
            duplicate_window=self.duplicate_window_s,
        )

    def differences(self, found: StreamConfig) -> list[str]:
        """What breaks our promises, field by field. How it is replicated, placed or packed is the operator's."""
        wanted: dict[str, object] = {
            "subjects": [SUBJECTS],
            "retention": RetentionPolicy.LIMITS,
            "storage": StorageType.FILE,
            "max_age": self.max_age_s,
            "duplicate_window": self.duplicate_window_s,
            "max_msgs": UNLIMITED,
            "max_bytes": UNLIMITED,
            "max_msgs_per_subject": UNLIMITED,
            "max_msg_size": UNLIMITED,
            "no_ack": False,
            "sealed": False,
            "mirror": None,
            "sources": None,
            "subject_transform": None,
        }
        pairs = ((field, getattr(found, field), want) for field, want in wanted.items())
        return [f"{field} is {_shown(has)}, not {_shown(want)}" for field, has, want in pairs if (has or want) != want]


def _shown(value: object) -> str:
    return f"{value:g} s" if isinstance(value, float) else str(getattr(value, "value", value))
