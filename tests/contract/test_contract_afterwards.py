"""Facts about what is left of calls, and about webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from contract_domain import Domain, refusal

from webhook_receiver import receiving

section = pytest.mark.section
MISSING = "00000000-0000-4000-8000-000000000000"
# Where nobody answers: with nothing on the port, and under a name that never resolves.
SILENT = {True: "http://127.0.0.1:9/hook", False: "https://transport-trio.invalid/hook"}


@section("9.1 meetings")
def test_a_room_without_meetings_has_an_empty_list(domain: Domain) -> None:
    answer = domain.ask("GET", "/meetings", query={"room": domain.room_name("nowhere")})
    assert (answer.status_code, answer.json()["data"]) == (200, [])


@section("9.2 recordings")
class TestRecordings:
    def test_a_room_without_recordings_has_an_empty_list(self, domain: Domain) -> None:
        answer = domain.ask("GET", "/recordings", query={"room_name": domain.room_name("nowhere"), "limit": 1})
        assert (answer.status_code, answer.json()) == (200, {"total_count": 0, "data": []})

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", ""), ("DELETE", ""), ("GET", "/access-link")],
    )
    def test_a_recording_that_is_not_there_is_no_success(self, domain: Domain, method: str, path: str) -> None:
        answer = domain.ask(method, f"/recordings/{MISSING}{path}")
        assert answer.status_code in {400, 404}
        domain.learn(f"{method} /recordings/:missing{path}", f"{answer.status_code} {answer.text[:80]}")


@section("9.3 transcripts")
def test_transcripts_are_listed_under_a_singular_name(domain: Domain) -> None:
    answer = domain.ask("GET", "/transcript", query={"limit": 1, "roomId": MISSING})
    assert (answer.status_code, answer.json()["data"]) == (200, [])


@section("10 webhooks")
class TestWebhooks:
    def test_they_are_a_bare_list(self, domain: Domain) -> None:
        assert isinstance(webhooks(domain), list)

    def test_who_does_not_answer_the_test_is_not_registered(self, domain: Domain) -> None:
        before = webhooks(domain)
        if before:
            pytest.skip("the domain has its webhook, which stays as it is")
        body = {"url": SILENT[domain.sandbox is not None], "eventTypes": ["participant.joined"]}
        status, error, info = refusal(domain.ask("POST", "/webhooks", body))
        assert (status, error) == (400, "invalid-request-error")
        domain.learn("a webhook where nobody answers", info)
        assert webhooks(domain) == []

    @pytest.mark.takes("an address that Daily reaches")
    def test_one_is_sent_a_signed_test_and_then_registered(self, domain: Domain) -> None:
        with receiving() as receiver:
            made = domain.ask("POST", "/webhooks", {"url": receiver.url, "eventTypes": ["participant.joined"]}).json()
            test = receiver.next()
        assert test.body == b'{"test":"test"}'
        signed = test.headers["x-webhook-timestamp"].encode() + b"." + test.body
        digest = hmac.digest(base64.b64decode(made["hmac"]), signed, hashlib.sha256)
        assert test.headers["x-webhook-signature"] == base64.b64encode(digest).decode()
        assert (made["state"], made["failedCount"], made["eventTypes"]) == ("ACTIVE", 0, ["participant.joined"])
        assert [one["uuid"] for one in webhooks(domain)] == [made["uuid"]]
        assert domain.ask("DELETE", f"/webhooks/{made['uuid']}").status_code == 200
        assert webhooks(domain) == []

    def test_a_field_that_webhooks_do_not_have_is_400(self, domain: Domain) -> None:
        body = {"url": SILENT[domain.sandbox is not None], "scope": "all"}
        if webhooks(domain):
            pytest.skip("the domain has its webhook, which stays as it is")
        status, _, info = refusal(domain.ask("POST", "/webhooks", body))
        assert status == 400
        assert "scope" in info


@section("12 open points")
@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Retry-After on 429", "it would take a 429"),
        ("today's tier of DELETE /rooms/:name", "it would take a 429"),
        ("the unit of X-Webhook-Timestamp", "it would take an address that Daily reaches"),
        ("the order of people in presence", "it would take people in a room"),
        ("the most rooms a domain can have", "it would take as many"),
    ],
)
def test_what_is_not_asked(domain: Domain, question: str, why: str) -> None:
    domain.learn(question, f"not asked: {why}")


def webhooks(domain: Domain) -> Any:
    answer = domain.ask("GET", "/webhooks")
    assert answer.status_code == 200
    return answer.json()
