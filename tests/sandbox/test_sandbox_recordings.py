"""Recordings: of calls under way, when they end and are ready, and what there is of them afterwards."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sandbox_studio import CLOUD, OTHER, MakeStudio, Studio

from transport_trio.sandbox import SandboxError, SandboxHandle
from transport_trio.sandbox.captures import INSTANCE
from transport_trio.sandbox.refusals import ApiError


class TestStarting:
    def test_the_answer_names_no_recording(self, studio: Studio) -> None:
        assert studio.do("start_recording") == {"status": "sent"}
        assert studio.recordings == []

    def test_it_begins_a_moment_later_and_webhooks_are_told_without_the_room(self, studio: Studio) -> None:
        asked_at = studio.core.clock()
        studio.do("start_recording", layout={"preset": "active-participant"}, instanceId=OTHER)
        studio.pass_s(0.9)
        assert studio.events == []
        studio.pass_s(0.1)
        [event] = studio.events
        [recording] = studio.recordings
        assert event["id"] == f"rec-sta-{OTHER}-{int(asked_at + 1)}"
        payload = event["payload"]
        assert payload.pop("started_by")
        assert payload == {
            "action": "start-cloud-recording",
            "recording_id": recording["id"],
            "layout": {"preset": "active-participant"},
            "instance_id": OTHER,
            "start_ts": int(asked_at + 1),
        }

    def test_one_for_each_instance(self, studio: Studio) -> None:
        studio.do("start_recording")
        refusal = studio.refused("start_recording")
        assert refusal.status == 400
        assert "has an active stream" in str(refusal)
        assert studio.refused("start_recording", instanceId=INSTANCE).status == 400  # the one nobody needs to name
        studio.do("start_recording", instanceId=OTHER)
        studio.pass_s(1)
        assert len(studio.recordings) == 2

    def test_a_room_that_is_not_to_be_recorded_is_not(self, make_studio: MakeStudio) -> None:
        for properties in ({"enable_recording": None}, {"enable_recording": "local"}):
            assert make_studio(properties).refused("start_recording").status == 400
        make_studio({"enable_recording": ["local", "cloud"]}).do("start_recording")

    def test_the_domain_may_allow_what_the_room_does_not_mention(self, make_studio: MakeStudio) -> None:
        studio = make_studio({"enable_recording": None})
        studio.core.do("update_domain", {"properties": CLOUD})
        studio.do("start_recording")

    def test_raw_tracks_need_a_bucket(self, make_studio: MakeStudio) -> None:
        assert "recordings_bucket" in str(make_studio().refused("start_recording", type="raw-tracks"))
        studio = make_studio({"recordings_bucket": {"bucket_name": "mine", "bucket_region": "eu-west-2"}})
        studio.do("start_recording", type="raw-tracks")
        assert studio.refused("update_recording", layout={"preset": "default"}).status == 400
        studio.pass_s(61)
        assert studio.refused("stop_recording", type="cloud").status == 400
        studio.do("stop_recording", type="raw-tracks")
        studio.pass_s(5)
        [recording] = studio.recordings
        assert [one["type"] for one in recording["tracks"]] == ["audio"]
        assert studio.events[-1]["payload"]["tracks"] == recording["tracks"]

    @pytest.mark.parametrize("operation", ["start_recording", "update_recording", "stop_recording"])
    def test_nobody_there_is_404(self, studio: Studio, operation: str) -> None:
        studio.room.call.end(studio.core.clock())
        refusal = studio.refused(operation)
        assert refusal.status == 404
        assert "does not seem to be hosting a call currently" in str(refusal)

    @pytest.mark.parametrize(
        "body",
        [
            {"quality": "best"},
            {"width": 641},
            {"fps": 0},
            {"videoBitrate": 9},
            {"audioBitrate": 321},
            {"minIdleTimeOut": "300"},
            {"maxDuration": 0},
            {"backgroundColor": "red"},
            {"instanceId": "one"},
            {"instanceId": 1},
            {"type": "local"},
            {"layout": "default"},
            {"layout": {}},
            {"layout": {"preset": "default", "session_id": "x"}},
            {"layout": {"preset": "single-participant"}},
            {"layout": {"preset": "custom"}},
            {"layout": {"preset": "portrait", "variant": "square"}},
            {"layout": {"preset": "default", "max_cam_streams": -1}},
            {"dataOutputs": ["video"]},
            {"dataOutputs": "event-json"},
            {"type": None},
        ],
    )
    def test_what_no_recording_has_is_refused(self, studio: Studio, body: dict[str, Any]) -> None:
        assert studio.refused("start_recording", **body).status == 400
        assert not studio.sandbox.captures.any_open

    def test_everything_documented_is_taken(self, studio: Studio) -> None:
        studio.do(
            "start_recording",
            width=1280,
            height=720,
            fps=30,
            videoBitrate=10_000,
            audioBitrate=10,
            minIdleTimeOut=60,
            maxDuration=600,
            backgroundColor="#ff001122",
            instanceId=OTHER,
            type="cloud-audio-only",
            layout={"preset": "portrait", "variant": "inset", "max_cam_streams": 4},
            dataOutputs=["event-json", "chat-webvtt"],
        )
        studio.do("update_recording", instanceId=OTHER, layout={"preset": "custom", "composition_id": "c1"})

    def test_workers_run_out(self, make_studio: MakeStudio) -> None:
        studio = make_studio(capture_workers=1)
        studio.do("start_recording")
        assert studio.refused("start_recording", instanceId=OTHER).status == 503


class TestEnding:
    def test_a_stopped_one_is_ready_some_seconds_later(self, studio: Studio) -> None:
        studio.core.join("hello", user_id="u2")
        studio.do("start_recording")
        studio.pass_s(31)
        [running] = studio.recordings
        assert running["status"] == "in-progress"
        assert "duration" not in running
        assert studio.do("stop_recording") == {"status": "sent"}
        assert studio.refused("stop_recording").status == 400
        studio.pass_s(4.9)
        assert studio.recordings == [running]
        studio.pass_s(0.1)
        assert studio.types == ["started", "ready-to-download"]
        [ready] = studio.recordings
        assert ready == {**running, "status": "finished", "duration": 30}
        assert (ready["max_participants"], ready["room_name"]) == (2, "hello")
        event = studio.events[-1]
        assert event["id"] == f"rec-rtd-{INSTANCE}-{int(studio.core.clock())}"
        assert event["payload"] == {
            "type": "cloud",
            "recording_id": ready["id"],
            "room_name": "hello",
            "start_ts": ready["start_ts"],
            "status": "finished",
            "max_participants": 2,
            "duration": 30,
            "share_token": ready["share_token"],
            "s3_key": ready["s3key"],
        }

    def test_one_that_never_began_leaves_nothing(self, studio: Studio) -> None:
        studio.do("start_recording")
        studio.do("stop_recording")
        studio.pass_s(60)
        assert (studio.types, studio.recordings) == ([], [])

    def test_it_ends_with_its_call_also_when_the_clock_puts_people_out(self, make_studio: MakeStudio) -> None:
        studio = make_studio({"eject_after_elapsed": 100})
        studio.do("start_recording")
        studio.pass_s(1000)
        assert studio.types == ["started", "ready-to-download"]
        assert studio.recordings[0]["duration"] == 99

    def test_it_survives_its_room(self, studio: Studio) -> None:
        studio.do("start_recording")
        studio.pass_s(10)
        studio.do("delete_room")
        studio.pass_s(5)
        [recording] = studio.recordings
        assert (recording["status"], recording["room_name"]) == ("finished", "hello")

    def test_it_lasts_at_most_so_long(self, studio: Studio) -> None:
        studio.do("start_recording", maxDuration=60)
        studio.do("start_recording", instanceId=OTHER)
        studio.pass_s(1)
        studio.pass_s(65)
        assert studio.types == ["started", "started", "ready-to-download"]
        studio.pass_s(10_800)
        assert sorted(one["duration"] for one in studio.recordings) == [60, 10_800]

    def test_it_ends_when_all_are_idle_for_so_long_and_some(self, studio: Studio) -> None:
        studio.do("start_recording", minIdleTimeOut=120)
        studio.pass_s(11)
        studio.room.call.idle_since = studio.core.clock()
        studio.pass_s(179)
        assert studio.sandbox.captures.running(studio.room, "recording", INSTANCE)
        studio.pass_s(6)
        assert studio.recordings[0]["duration"] == 10 + 120 + 60

    def test_idleness_ends_with_its_call(self, studio: Studio) -> None:
        studio.room.call.idle_since = studio.core.clock()
        studio.room.call.end(studio.core.clock())
        studio.core.join("hello", user_id="u2")
        studio.do("start_recording", minIdleTimeOut=10)
        studio.pass_s(1000)
        assert studio.sandbox.captures.running(studio.room, "recording", INSTANCE)

    def test_it_tells_how_many_were_there_at_once(self, studio: Studio) -> None:
        studio.do("start_recording")
        bob = studio.core.join("hello", user_id="u2")
        studio.room.call.leave(bob, studio.core.clock())
        studio.core.join("hello", user_id="u3")
        studio.pass_s(10)
        assert studio.recordings[0]["max_participants"] == 2

    def test_nobody_needs_to_listen_for_it_to_end(self, make_studio: MakeStudio) -> None:
        studio = make_studio({"eject_after_elapsed": 100})
        [webhook] = studio.sandbox.webhooks.all()
        studio.sandbox.webhooks.remove(webhook.uuid)
        studio.do("start_recording")
        studio.pass_s(1000)
        assert studio.recordings[0]["duration"] == 99

    def test_the_next_call_has_nothing_of_it(self, studio: Studio) -> None:
        studio.do("start_recording")
        studio.pass_s(10)
        studio.room.call.end(studio.core.clock())
        studio.core.join("hello", user_id="u2")
        studio.do("start_recording")
        studio.pass_s(10)
        assert [one["status"] for one in studio.recordings] == ["in-progress", "finished"]
        assert [one["max_participants"] for one in studio.recordings] == [1, 1]


class TestTokens:
    @pytest.mark.parametrize(
        ("room", "token", "begins"),
        [
            ("cloud", {}, True),
            (None, {}, False),
            ("cloud-audio-only", {}, False),
            (None, {"enable_recording": "cloud"}, True),
            ("cloud", {"start_cloud_recording_opts": {"fps": 0}}, False),
            ("cloud", {"start_cloud_recording": False}, False),
        ],
    )
    def test_a_token_can_start_one(
        self, make_studio: MakeStudio, room: str | None, token: dict[str, Any], begins: bool
    ) -> None:
        studio = make_studio({"enable_recording": room})
        eve = studio.core.join("hello", **{"start_cloud_recording": True, **token})
        studio.pass_s(1)
        assert [one["payload"]["started_by"] for one in studio.events] == ([eve] if begins else [])

    def test_the_second_of_these_changes_nothing(self, studio: Studio) -> None:
        for user_id in ("u2", "u3"):
            studio.core.join("hello", user_id=user_id, start_cloud_recording=True)
        studio.pass_s(1)
        assert studio.types == ["started"]


class TestAfterwards:
    @pytest.fixture
    def finished(self, studio: Studio) -> Studio:
        for _ in range(3):
            studio.do("start_recording")
            studio.pass_s(30)
            studio.do("stop_recording")
            studio.pass_s(30)
        return studio

    def test_lists_are_paged_newest_first(self, finished: Studio) -> None:
        ids = [one["id"] for one in finished.recordings]
        assert [one["payload"]["recording_id"] for one in finished.events[::2]] == ids[::-1]
        assert query(finished, limit="2") == (3, ids[:2])
        assert query(finished, starting_after=ids[1]) == (3, ids[2:])
        assert query(finished, starting_after=ids[2]) == (3, [])
        assert query(finished, ending_before=ids[1]) == (3, ids[:1])
        assert query(finished, ending_before="OLDEST", limit="1") == (3, ids[2:])
        assert query(finished, room_name="hello")[0] == 3
        assert query(finished, room_name="other") == (0, [])

    def test_one_is_read_and_deleted(self, finished: Studio) -> None:
        first = finished.recordings[0]
        assert finished.core.do("get_recording", id=first["id"]) == first
        assert finished.core.do("delete_recording", id=first["id"]) == {
            "deleted": True,
            "id": first["id"],
            "s3_bucket": "daily-recordings",
            "s3_region": "us-west-2",
            "s3_key": first["s3key"],
        }
        for operation in ("get_recording", "delete_recording", "get_recording_link"):
            with pytest.raises(ApiError) as caught:
                finished.core.do(operation, id=first["id"])
            assert caught.value.status == 404
        assert len(finished.recordings) == 2

    @pytest.mark.parametrize("operation", ["delete_recording", "get_recording_link"])
    def test_nothing_can_be_had_of_an_unfinished_one(self, studio: Studio, operation: str) -> None:
        studio.do("start_recording")
        studio.pass_s(1)
        with pytest.raises(ApiError, match="not finished"):
            studio.core.do(operation, id=studio.recordings[0]["id"])

    def test_the_meeting_may_be_missing(self, make_studio: MakeStudio) -> None:
        for missing, shown in ((0.0, True), (1.0, False)):
            studio = make_studio(meeting_id_missing=missing)
            studio.do("start_recording")
            studio.pass_s(1)
            assert ("mtgSessionId" in studio.recordings[0]) is shown

    def test_keys_follow_the_template(self, make_studio: MakeStudio) -> None:
        studio = make_studio({"recordings_template": "all/{room_name}/{epoch_time}.mp4"})
        studio.do("start_recording")
        studio.pass_s(1)
        assert studio.recordings[0]["s3key"] == f"all/hello/{int(studio.core.clock() - 1) * 1000}.mp4"


def download(link: str) -> httpx.Response:
    return httpx.get(link, trust_env=False, verify=False)


def query(studio: Studio, **query: str) -> tuple[int, list[str]]:
    page = studio.core.do("list_recordings", query=query)
    return page["total_count"], [one["id"] for one in page["data"]]


class TestOverHttp:
    @pytest.fixture
    def call(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> httpx.Client:
        daily_sandbox.configure(capture_start_s=0, recording_ready_s=0)
        api.post("/rooms", json={"name": "hello", "properties": CLOUD})
        daily_sandbox.join("hello", user_id="u1")
        return api

    def test_the_link_leads_to_a_film_for_a_while(self, call: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        for action in ("start", "stop"):
            assert call.post(f"/rooms/hello/recordings/{action}").json() == {"status": "sent"}
        [recording] = call.get("/recordings").json()["data"]
        path = f"/recordings/{recording['id']}/access-link"
        link = call.get(path, params={"valid_for_secs": 60}).json()
        assert abs(link["expires"] - daily_sandbox.now() - 60) < 30
        film = download(link["download_link"])  # without a key
        assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")
        assert film.content[4:12] == b"ftypmp42"
        assert download(link["download_link"] + "0").status_code == 403
        assert (
            download(link["download_link"].replace(str(link["expires"]), str(link["expires"] + 1))).status_code == 403
        )
        assert download(link["download_link"].split("?")[0]).status_code == 403
        daily_sandbox.advance(60)
        assert download(link["download_link"]).status_code == 403
        assert call.get(path, params={"valid_for_secs": "soon"}).status_code == 400
        fresh = call.get(path).json()["download_link"]
        call.delete(f"/recordings/{recording['id']}")
        assert download(fresh).status_code == 404

    def test_starts_are_limited_to_five_in_five_seconds(self, call: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        statuses = [call.post("/rooms/hello/recordings/start").status_code for _ in range(6)]
        assert statuses == [200, 400, 400, 400, 400, 429]
        daily_sandbox.advance(5)
        assert call.post("/rooms/hello/recordings/start").status_code == 400

    def test_lists_are_limited_to_fifty_in_half_a_minute(
        self, call: httpx.Client, daily_sandbox: SandboxHandle
    ) -> None:
        assert [call.get("/recordings").status_code for _ in range(51)] == [200] * 50 + [429]
        daily_sandbox.advance(30)
        assert call.get("/recordings").status_code == 200

    def test_somebody_in_the_call_starts_and_stops_one(self, call: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        bob = daily_sandbox.join("hello", user_id="u2")
        [running] = daily_sandbox.start_capture("hello", "recording", by="u2", layout={"preset": "default"})
        assert (running["startedBy"], running["running"], running["begun"]) == (bob["id"], True, True)
        assert daily_sandbox.captures("hello") == [running]
        daily_sandbox.stop_capture("hello", "recording")
        assert call.get(f"/recordings/{running['id']}").json()["status"] == "finished"
        with pytest.raises(SandboxError, match="nothing of this kind"):
            daily_sandbox.stop_capture("hello", "recording")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "painting"}, "kind must be one of"),
            ({"by": "nobody"}, "nobody in room hello is called nobody"),
            ({"fps": -1}, "fps"),
        ],
    )
    def test_what_nobody_could_start_is_refused(
        self, call: httpx.Client, daily_sandbox: SandboxHandle, change: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SandboxError, match=message):
            daily_sandbox.start_capture("hello", **{"kind": "recording", **change})
        with pytest.raises(SandboxError, match="room nowhere not found"):
            daily_sandbox.captures("nowhere")

    def test_one_that_breaks_off_is_told_without_its_id_and_gone(
        self, call: httpx.Client, daily_sandbox: SandboxHandle
    ) -> None:
        call.post("/rooms/hello/recordings/start", json={"instanceId": OTHER})
        [recording] = call.get("/recordings").json()["data"]
        failed = daily_sandbox.fail_capture("hello", "recording", message="out of disk", instanceId=OTHER)
        assert failed["id"] == recording["id"]
        assert call.get("/recordings").json() == {"total_count": 0, "data": []}
        with pytest.raises(SandboxError, match="nothing of this kind"):
            daily_sandbox.fail_capture("hello", "recording")

    def test_one_can_be_lost_before_it_is_ready(self, call: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.configure(recording_ready_s=60)
        call.post("/rooms/hello/recordings/start", json={"instanceId": OTHER})
        daily_sandbox.start_capture("hello", "recording")
        daily_sandbox.leave("hello")
        assert [one["running"] for one in daily_sandbox.captures("hello")] == [False, False]
        daily_sandbox.fail_capture("hello", "recording", instanceId=OTHER)
        [kept] = daily_sandbox.captures("hello")
        daily_sandbox.advance(60)
        assert [one["id"] for one in call.get("/recordings").json()["data"]] == [kept["id"]]

    def test_silence_ends_one(self, call: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        call.post("/rooms/hello/recordings/start", json={"minIdleTimeOut": 10})
        daily_sandbox.idle("hello")
        daily_sandbox.idle("hello", False)
        daily_sandbox.advance(100)
        assert call.get("/recordings").json()["data"][0]["status"] == "in-progress"
        daily_sandbox.idle("hello")
        daily_sandbox.advance(70)
        assert call.get("/recordings").json()["data"][0]["status"] == "finished"


def test_an_error_is_told_in_daily_s_words(studio: Studio) -> None:
    studio.do("start_recording", instanceId=OTHER)
    studio.pass_s(1)
    [capture] = studio.sandbox.captures.all_open(studio.room)
    studio.sandbox.captures.fail(capture, "out of disk", studio.core.clock())
    assert studio.events[-1]["payload"] == {
        "action": "clourd-recording-err",
        "error_msg": "out of disk",
        "instance_id": OTHER,
        "room_name": "hello",
        "timestamp": int(studio.core.clock()),
    }
