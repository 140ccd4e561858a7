"""What we send for what our callers ask, and that the look-alike of Daily takes all of it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from connectors_helpers import NOON, room_plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transport_trio.connectors.daily.mapping import MANAGED_OPTIONS, room_body, token_body, token_claims
from transport_trio.models import ParticipantConfig, Permissions, Privacy, RoomConfig, RoomPlan, TokenPlan
from transport_trio.sandbox import SandboxHandle

END = int(NOON.timestamp())
ALWAYS = {"exp": END, "eject_at_room_exp": True, "enable_chat": True, "enable_screenshare": True}


def token_of(participant: ParticipantConfig | None = None, **config: Any) -> dict[str, Any]:
    plan = TokenPlan(
        room_name="lobby",
        room_config=RoomConfig(**config),
        participant=participant or ParticipantConfig(),
        expires_at=NOON,
    )
    properties: dict[str, Any] = token_body(plan)["properties"]
    return properties


def test_a_plain_room_is_private_and_ends_with_everybody_out() -> None:
    assert room_body(room_plan("lobby", NOON)) == {"name": "lobby", "privacy": "private", "properties": ALWAYS}


@pytest.mark.parametrize(
    ("config", "sent"),
    [
        ({"enable_chat": False}, {"enable_chat": False}),
        ({"enable_screen_sharing": False}, {"enable_screenshare": False}),
        ({"max_participants": 3}, {"max_participants": 3}),
        ({"enable_recording": True}, {"enable_recording": "cloud"}),
        ({"auto_start_recording": True}, {"enable_recording": "cloud"}),
        ({"enable_transcription": True}, {"enable_transcription_storage": True}),
        ({"auto_start_transcription": True}, {"enable_transcription_storage": True}),
    ],
)
def test_our_switches_become_daily_properties(config: dict[str, Any], sent: dict[str, Any]) -> None:
    assert room_body(room_plan("lobby", NOON, **config))["properties"] == {**ALWAYS, **sent}


def test_a_public_room_is_public() -> None:
    assert room_body(room_plan("lobby", NOON, privacy=Privacy.PUBLIC))["privacy"] == "public"


def test_further_options_are_properties_and_never_override_ours() -> None:
    options = {"lang": "de", "geo": "eu-central-1", **dict.fromkeys(MANAGED_OPTIONS, "theirs")}
    properties = room_body(room_plan("lobby", NOON, options={"lang": "de", "geo": "eu-central-1"}))["properties"]
    assert properties == {**ALWAYS, "lang": "de", "geo": "eu-central-1"}
    overridden = room_body(room_plan("lobby", NOON, options=options, max_participants=3))["properties"]
    assert {key: overridden[key] for key in ALWAYS} == ALWAYS
    assert overridden["max_participants"] == 3


def test_whatever_we_set_is_managed() -> None:
    plan = room_plan("lobby", NOON, max_participants=3, enable_recording=True, enable_transcription=True)
    assert set(room_body(plan)["properties"]) | {"name", "privacy"} == MANAGED_OPTIONS


def test_a_plain_token_is_for_its_room_until_its_end() -> None:
    assert token_of() == {"room_name": "lobby", "exp": END, "permissions": {"canSend": True}}


@pytest.mark.parametrize(
    ("participant", "config", "sent"),
    [
        (ParticipantConfig(name="Ada", user_id="u1"), {}, {"user_name": "Ada", "user_id": "u1"}),
        (ParticipantConfig(is_owner=True), {}, {"is_owner": True}),
        (ParticipantConfig(), {"auto_start_recording": True}, {"start_cloud_recording": True}),
        (
            ParticipantConfig(is_owner=True),
            {"auto_start_transcription": True},
            {"is_owner": True, "auto_start_transcription": True},
        ),
    ],
)
def test_a_token_says_what_was_given(
    participant: ParticipantConfig, config: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert token_of(participant, **config) == {**token_of(), **sent}


@pytest.mark.parametrize("allowed", list(itertools.product([True, False], repeat=4)))
def test_what_somebody_may_send_is_a_permission_and_not_a_muted_start(allowed: tuple[bool, ...]) -> None:
    video, audio, screen_video, screen_audio = allowed
    may = Permissions(
        can_send_video=video,
        can_send_audio=audio,
        can_send_screen_video=screen_video,
        can_send_screen_audio=screen_audio,
    )
    sent = token_of(ParticipantConfig(permissions=may))["permissions"]["canSend"]
    names = [name for name, yes in zip(("video", "audio", "screenVideo", "screenAudio"), allowed, strict=True) if yes]
    assert sent == (True if all(allowed) else names or False)


@pytest.mark.parametrize("switch", ["enable_transcription", "auto_start_transcription"])
@pytest.mark.parametrize(
    ("participant", "can_admin"),
    [
        (ParticipantConfig(), ["transcription"]),
        (ParticipantConfig(permissions=Permissions(can_admin=True)), True),
        (ParticipantConfig(is_owner=True), None),  # an owner may do everything already
    ],
)
def test_somebody_can_start_the_transcription(switch: str, participant: ParticipantConfig, can_admin: Any) -> None:
    assert token_of(participant, **{switch: True})["permissions"].get("canAdmin") == can_admin


def test_an_admin_is_an_admin_and_nobody_else_is() -> None:
    assert token_of(ParticipantConfig(permissions=Permissions(can_admin=True)))["permissions"]["canAdmin"] is True
    assert "canAdmin" not in token_of()["permissions"]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
CONFIGS = st.builds(
    RoomConfig,
    privacy=st.sampled_from(Privacy),
    max_participants=st.none() | st.integers(1, 200),
    enable_recording=st.booleans(),
    enable_transcription=st.booleans(),
    enable_chat=st.booleans(),
    enable_screen_sharing=st.booleans(),
    auto_start_recording=st.booleans(),
    auto_start_transcription=st.booleans(),
)
PARTICIPANTS = st.builds(
    ParticipantConfig,
    name=st.none() | NAMES,
    user_id=st.none() | NAMES.map(lambda name: name[:36]),
    is_owner=st.booleans(),
    permissions=st.builds(
        Permissions,
        can_admin=st.booleans(),
        can_send_video=st.booleans(),
        can_send_audio=st.booleans(),
        can_send_screen_video=st.booleans(),
        can_send_screen_audio=st.booleans(),
    ),
)


@pytest.mark.daily_sandbox(rate_limits=False)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=CONFIGS, participant=PARTICIPANTS)
def test_whatever_our_callers_may_ask_is_taken_and_the_token_says_what_the_dry_run_said(
    daily_sandbox: SandboxHandle, config: RoomConfig, participant: ParticipantConfig
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    room = room_body(RoomPlan(name="lobby", config=config, expires_at=end))
    token = token_body(TokenPlan(room_name="lobby", room_config=config, participant=participant, expires_at=end))
    headers = {"Authorization": f"Bearer {daily_sandbox.api_key}"}
    with httpx.Client(base_url=daily_sandbox.api_url, headers=headers, trust_env=False) as client:
        made = client.post("/rooms", json=room)
        minted = client.post("/meeting-tokens", json=token)
        client.delete("/rooms/lobby").raise_for_status()
    assert made.status_code == 200, made.text
    assert minted.status_code == 200, minted.text
    claims = jwt.decode(minted.json()["token"], options={"verify_signature": False})
    theirs = {name: value for name, value in claims.items() if name not in {"iat", "d"}}
    assert theirs == token_claims(token)
