"""Transcriptions of calls under way, and the transcripts that are left where somebody wanted them kept."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sandbox_studio import OTHER, MakeStudio, Studio

from transport_trio.sandbox import SandboxHandle
from transport_trio.sandbox.captures import INSTANCE
from transport_trio.sandbox.refusals import ApiError

KEPT = {"enable_transcription_storage": True}


@pytest.fixture
def studio(make_studio: MakeStudio) -> Studio:
    return make_studio(KEPT, events="transcript")


def transcripts(studio: Studio, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = studio.core.do("list_transcripts", query=query)["data"]
    return found


class TestUnderWay:
    def test_it_is_started_changed_and_stopped(self, studio: Studio) -> None:
        assert studio.do("start_transcription", language="de", participants=[studio.ada]) == {"sent": "true"}
        assert "has an active stream" in str(studio.refused("start_transcription"))
        assert studio.do("update_transcription", participants=[]) == {"sent": "true"}
        studio.do("start_transcription", instanceId=OTHER)
        studio.do("stop_transcription", instanceId=OTHER)
        assert studio.do("stop_transcription") == {"sent": "true"}
        for operation in ("update_transcription", "stop_transcription"):
            assert studio.refused(operation).status == 400

    @pytest.mark.parametrize("operation", ["start_transcription", "update_transcription", "stop_transcription"])
    def test_nobody_there_is_404(self, studio: Studio, operation: str) -> None:
        studio.room.call.end(studio.core.clock())
        assert studio.refused(operation).status == 404

    @pytest.mark.parametrize(
        ("operation", "body"),
        [
            ("start_transcription", {"lang": "de"}),
            ("start_transcription", {"punctuate": "yes"}),
            ("start_transcription", {"endpointing": 0}),
            ("start_transcription", {"redact": "numbers"}),
            ("start_transcription", {"extra": []}),
            ("start_transcription", {"participants": "all"}),
            ("start_transcription", {"transcription_geo": "us"}),
            ("start_transcription", {"maxDuration": 60}),
            ("update_transcription", {"language": "de"}),
            ("stop_transcription", {"participants": []}),
        ],
    )
    def test_the_schema_is_strict(self, studio: Studio, operation: str, body: dict[str, Any]) -> None:
        assert studio.refused(operation, **body).status == 400

    def test_everything_documented_is_taken(self, studio: Studio) -> None:
        studio.do(
            "start_transcription",
            language="en",
            model="nova-3",
            tier="enhanced",
            profanity_filter=True,
            punctuate=False,
            endpointing=100,
            redact=["pci"],
            extra={"interim_results": True},
            includeRawResponse=True,
            instanceId=OTHER,
            participants=["x"],
            transcription_geo="eu",
        )

    def test_no_idleness_and_no_duration_ends_it(self, studio: Studio) -> None:
        studio.do("start_transcription")
        studio.room.call.idle_since = studio.core.clock()
        studio.pass_s(86_400)
        assert studio.sandbox.captures.running(studio.room, "transcription", INSTANCE)


class TestTokens:
    @pytest.mark.parametrize(
        ("token", "begins"),
        [
            ({"auto_start_transcription": True, "is_owner": True}, True),
            ({"auto_start_transcription": True}, False),
            ({"is_owner": True}, False),
        ],
    )
    def test_an_owner_s_token_can_start_one(self, make_studio: MakeStudio, token: dict[str, Any], begins: bool) -> None:
        studio = make_studio({**KEPT, "auto_transcription_settings": {"language": "fr"}}, events="transcript")
        studio.core.join("hello", **token)
        options = [one.options for one in studio.sandbox.captures.all_open(studio.room)]
        assert options == ([{"language": "fr"}] if begins else [])

    def test_settings_that_make_no_sense_start_none(self, make_studio: MakeStudio) -> None:
        studio = make_studio({"auto_transcription_settings": {"lang": "fr"}})
        studio.core.join("hello", auto_start_transcription=True, is_owner=True)
        assert not studio.sandbox.captures.any_open

    @pytest.mark.parametrize("stops", [True, False])
    def test_a_newcomer_may_end_it(self, make_studio: MakeStudio, stops: bool) -> None:
        studio = make_studio(KEPT, events="transcript", join_stops_transcription=stops)
        studio.do("start_transcription")
        studio.pass_s(10)
        studio.core.join("hello", user_id="bot")
        studio.pass_s(10)
        assert studio.types == (["started", "ready-to-download"] if stops else ["started"])


class TestAfterwards:
    def test_a_transcript_from_its_beginning_to_its_deletion(self, studio: Studio) -> None:
        studio.do("start_transcription", instanceId=OTHER)
        studio.pass_s(1)
        [running] = transcripts(studio)
        assert (running["status"], running["duration"]) == ("t_in_progress", None)
        assert (running["roomId"], running["domainId"]) == (studio.room.id, studio.sandbox.config.domain_id)
        studio.pass_s(120)
        studio.do("stop_transcription", instanceId=OTHER)
        studio.pass_s(5)
        id_ = running["transcriptId"]
        whole = studio.core.do("get_transcript", id=id_)
        key = f"sandbox/hello/{int(studio.core.clock() - 126) * 1000}.vtt"
        out = {"key": key, "bucket": "daily-transcripts", "region": "us-west-2"}
        assert whole == {**transcripts(studio)[0], "outParams": out}
        assert (whole["status"], whole["duration"], whole["mtgSessionId"]) == (
            "t_finished",
            120,
            running["mtgSessionId"],
        )
        started, ready = (one["payload"] for one in studio.events)
        assert started["status"] == "t_in_progress"
        assert ready == {
            "id": id_,
            "info": {"instanceId": OTHER},
            "room_id": studio.room.id,
            "room_name": "hello",
            "mtg_session_id": whole["mtgSessionId"],
            "status": "t_finished",
            "duration": 120,
            "participant_minutes": 2,
            "out_params": {"s3": out},
        }
        assert studio.core.do("delete_transcript", id=id_) == {**whole, "status": "t_deleted"}
        for operation in ("get_transcript", "delete_transcript", "get_transcript_link"):
            with pytest.raises(ApiError, match=f"transcript {id_} not found"):
                studio.core.do(operation, id=id_)
        assert transcripts(studio) == []

    def test_nothing_is_kept_unless_somebody_wanted_it(self, make_studio: MakeStudio) -> None:
        studio = make_studio(events="transcript")
        studio.do("start_transcription")
        studio.pass_s(10)
        assert transcripts(studio) == []
        studio.do("stop_transcription")
        studio.pass_s(60)
        assert (studio.types, transcripts(studio)) == (["started"], [])

    def test_lists_are_filtered_by_room_and_meeting(self, studio: Studio) -> None:
        studio.do("start_transcription")
        studio.pass_s(10)
        [one] = transcripts(studio)
        assert transcripts(studio, roomId=one["roomId"], mtgSessionId=one["mtgSessionId"]) == [one]
        assert transcripts(studio, roomId="x") == transcripts(studio, mtgSessionId="x") == []
        with pytest.raises(ApiError, match="not finished"):
            studio.core.do("delete_transcript", id=one["transcriptId"])

    def test_one_that_fails_is_told_of_and_gone(self, studio: Studio) -> None:
        studio.do("start_transcription")
        studio.pass_s(10)
        [capture] = studio.sandbox.captures.all_open(studio.room)
        studio.sandbox.captures.fail(capture, "no speech engine", studio.core.clock())
        assert studio.types == ["started", "error"]
        payload = studio.events[-1]["payload"]
        assert (payload["status"], payload["error"]) == ("t_error", "no speech engine")
        assert transcripts(studio) == []

    @pytest.mark.daily_sandbox(capture_start_s=0, transcript_ready_s=0)
    def test_the_link_leads_to_subtitles(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        api.post("/rooms", json={"name": "hello", "properties": KEPT})
        daily_sandbox.join("hello")
        for action in ("start", "stop"):
            assert api.post(f"/rooms/hello/transcription/{action}").json() == {"sent": "true"}
        [one] = api.get("/transcript").json()["data"]
        link = api.get(f"/transcript/{one['transcriptId']}/access-link").json()["download_link"]
        subtitles = httpx.get(link, trust_env=False, verify=False)
        assert subtitles.headers["content-type"] == "text/vtt"
        assert subtitles.text.startswith("WEBVTT\n\n00:00:00.000 --> ")
