"""REST where the port speaks TLS."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from prometheus_client import CollectorRegistry
from web_rig import GET, LAST_GET, POST, TEST_S, Site, created, serving, vanish

from identity import Identity, trusting
from transport_trio.errors import SettingsError
from transport_trio.metrics import Metrics
from transport_trio.settings import Settings
from transport_trio.web.certificate import LOOK_EVERY_S, Certificate
from transport_trio.web.secure import GOODBYE_S


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.new(tmp_path)


@asynccontextmanager
async def secure(identity: Identity, **changes: Any) -> AsyncIterator[Site]:
    """A site that speaks TLS, with a client that trusts it."""
    with trio.fail_after(TEST_S):
        async with serving(**identity.settings, **changes) as site:
            await site.client.aclose()
            async with httpx.AsyncClient(base_url=site.url, verify=trusting(), timeout=TEST_S) as site.client:
                yield site


async def dialed(
    site: Site, context: ssl.SSLContext | None = None, *, strict: bool = False
) -> trio.SSLStream[trio.SocketStream]:
    """With `strict`, an end that is none within TLS raises."""
    plain = await trio.open_tcp_stream(*site.address)
    return trio.SSLStream(plain, context or trusting(), server_hostname="127.0.0.1", https_compatible=not strict)


async def all_of(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def answer_on(stream: trio.abc.ReceiveStream) -> bytes:
    """A whole answer, whose body is an object."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += await stream.receive_some()
    return answer


async def until_connections(site: Site, count: int) -> None:
    while site.count("transport_connections") != count:  # noqa: ASYNC110 -- nobody tells
        await trio.sleep(0.005)


NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(CollectorRegistry())


def refused(site: Site, reason: str) -> float:
    return site.count("transport_http_refused_total", reason=reason)


# --- what works


async def test_requests_are_served_one_after_the_other_on_one_connection(identity: Identity) -> None:
    async with secure(identity) as site:
        assert site.url.startswith("https://127.0.0.1:")
        session_id = await created(site)
        answers = [await site.client.get(f"/sessions/{session_id}") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert site.count("transport_connections") == 1


async def test_the_client_in_the_access_log_is_the_real_one(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "transport_trio.access")
    async with secure(identity, access_log=True) as site:
        await site.client.get("/health")
    [line] = [record for record in caplog.records if record.name == "transport_trio.access"]
    assert vars(line)["client"] == "127.0.0.1"


async def test_a_client_that_says_goodbye_behind_its_request_gets_the_whole_answer(identity: Identity) -> None:
    async with secure(identity) as site:
        stream = await dialed(site)
        await stream.send_all(LAST_GET)
        answer = await all_of(stream)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"}")
        await stream.aclose()


async def test_an_answer_larger_than_all_buffers_reaches_a_client_that_reads_slowly(identity: Identity) -> None:
    async with secure(identity) as site:
        stream = await dialed(site)
        stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        requests = 2000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, GET * (requests - 1) + LAST_GET)
            await trio.sleep(0.2)  # by now everybody is full of answers
            answers = await all_of(stream)
        assert answers.count(b"HTTP/1.1 200 ") == requests
        await stream.aclose()


async def test_the_end_of_an_answer_is_an_end_within_tls(identity: Identity) -> None:
    """Without a goodbye strict clients take it for an attack that cut the answer short."""
    async with secure(identity, keep_alive_s=0.5) as site:
        for request in (LAST_GET, GET, b"no http\r\n\r\n"):
            stream = await dialed(site, strict=True)
            await stream.send_all(request)
            assert (await all_of(stream)).startswith(b"HTTP/1.1 ")
            await stream.aclose()


async def test_an_end_without_a_goodbye_within_tls_is_an_end(identity: Identity) -> None:
    """Many clients do that, and attackers can do it for others; every answer tells its own length."""
    async with secure(identity) as site:
        stream = await dialed(site)
        await stream.send_all(GET)
        await answer_on(stream)
        await stream.transport_stream.aclose()
        await until_connections(site, 0)


async def test_a_client_that_vanishes_leaves_nothing_behind(identity: Identity) -> None:
    async with secure(identity) as site:
        tasks = trio.lowlevel.current_statistics().tasks_living
        for sent in (b"", GET, POST[:-3]):
            stream = await dialed(site)
            await stream.send_all(sent)
            vanish(stream.transport_stream)
        while trio.lowlevel.current_statistics().tasks_living > tasks:  # noqa: ASYNC110 -- nobody tells
            await trio.sleep(0.005)
        await until_connections(site, 0)


async def test_versions_before_1_2_are_refused(identity: Identity) -> None:
    async with secure(identity) as site:
        context = trusting()
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        stream = await dialed(site, context)
        await stream.send_all(LAST_GET)
        assert (await all_of(stream)).startswith(b"HTTP/1.1 200 ")
        await stream.aclose()
        # As a ClientHello has it: TLS 1.1, one suite, no extensions. Clients of today can no longer say so.
        hello = b"\x03\x02" + bytes(32) + b"\0" + b"\0\x02\xc0\x13" + b"\1\0"
        record = b"\x16\x03\x01" + (len(hello) + 4).to_bytes(2) + b"\1" + len(hello).to_bytes(3) + hello
        alert = await site.raw(record)
        assert (alert[:1], alert[-1]) == (b"\x15", 70)  # an alert: protocol_version (RFC 8446, 6)
        assert refused(site, "handshake") == 1


# --- what is no TLS, or none in time


@pytest.mark.parametrize("sent", [GET, GET.replace(b"GET", b"DELETE"), b"PRI * HTTP/2.0\r\n\r\n", b"SSH-2.0-x\r\n"])
async def test_who_speaks_no_tls_is_told_so(identity: Identity, sent: bytes) -> None:
    async with secure(identity) as site:
        answer = await site.raw(sent)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"https://" in body
        assert f"content-length: {len(body)}".encode() in head
        assert refused(site, "not_tls") == 1


# What a client has asked when it goes: the rest waits for an answer that cannot be given any more.
@pytest.mark.parametrize("asked", [GET + b"G", GET + GET[:-2], GET * 2, GET * 3 + POST])
@pytest.mark.parametrize("reset", [True, False])
async def test_who_goes_with_a_request_behind_a_request_leaves_nothing(
    identity: Identity, asked: bytes, reset: bool
) -> None:
    async with secure(identity, keep_alive_s=TEST_S, head_timeout_s=TEST_S) as site:
        for _ in range(10):
            stream = await dialed(site)
            await stream.send_all(asked)
            await stream.receive_some(1)
            if reset:
                vanish(stream.transport_stream)
            else:
                stream.transport_stream.socket.close()
        await until_connections(site, 0)


@pytest.mark.parametrize("sent", [b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 100])
async def test_what_is_neither_tls_nor_http_is_closed_and_counted(identity: Identity, sent: bytes) -> None:
    async with secure(identity) as site:
        with suppress(trio.BrokenResourceError):  # a reset says the same
            assert not (await site.raw(sent)).startswith(b"HTTP")
        await until_connections(site, 0)
        assert refused(site, "handshake") == 1


async def test_a_handshake_that_does_not_end_is_given_up(identity: Identity) -> None:
    async with secure(identity, head_timeout_s=0.2) as site:
        for sent in (b"", b"\x16\x03\x01"):
            stream = await trio.open_tcp_stream(*site.address)
            await stream.send_all(sent)
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
            await stream.aclose()
        await until_connections(site, 0)
        assert refused(site, "handshake") == 2


async def test_a_probe_that_connects_and_leaves_counts_as_nothing(identity: Identity) -> None:
    async with secure(identity) as site:
        assert await site.raw(b"", end=True) == b""
        await until_connections(site, 0)
        assert (refused(site, "handshake"), refused(site, "not_tls")) == (0, 0)


# --- more than there is room for


@asynccontextmanager
async def full(site: Site) -> AsyncIterator[None]:
    """As many creations under way as there may be connections; in the end all of them are answered."""
    site.service.gate = trio.Event()
    busy = [await dialed(site) for _ in range(site.settings.connections_max)]
    for stream in busy:
        await stream.send_all(POST)
    while len(site.service.asked) < len(busy):  # noqa: ASYNC110 -- the fake tells of the first alone
        await trio.sleep(0.005)
    yield
    site.service.gate.set()
    for stream in busy:
        assert (await answer_on(stream)).startswith(b"HTTP/1.1 201 ")
        await stream.aclose()


async def test_who_has_not_even_shaken_hands_makes_room_first(identity: Identity) -> None:
    async with secure(identity, connections_max=10) as site:
        silent = [await trio.open_tcp_stream(*site.address) for _ in range(10)]
        await until_connections(site, 10)
        assert (await site.client.get("/health")).status_code == 200
        assert refused(site, "crowded") == 1
        for stream in silent:
            await stream.aclose()


async def test_one_too_many_is_told_so_within_tls(identity: Identity) -> None:
    async with secure(identity, connections_max=10) as site, full(site):
        late = await dialed(site, strict=True)
        await late.do_handshake()
        answer = await all_of(late)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in answer
        await late.aclose()


async def test_one_too_many_that_vanishes_while_it_is_told_so_harms_nobody(identity: Identity) -> None:
    async with secure(identity, connections_max=10) as site, full(site):
        for sent in (b"", b"\x16", b"\x16\x03\x01", b"G"):
            late = await trio.open_tcp_stream(*site.address)
            await late.send_all(sent)
            await trio.sleep(0.01)  # it is being refused
            vanish(late)


# --- a stop


async def test_a_stop_lets_answers_through_and_waits_for_no_handshake(identity: Identity) -> None:
    async with secure(identity, drain_s=TEST_S) as site:
        site.service.gate = trio.Event()
        busy, idle = await dialed(site), await dialed(site)
        silent = await trio.open_tcp_stream(*site.address)
        await idle.do_handshake()
        await busy.send_all(POST)
        await site.service.entered.wait()
        site.stop.set()
        assert await all_of(idle) == b""
        assert await silent.receive_some() == b""
        site.service.gate.set()
        assert (await all_of(busy)).startswith(b"HTTP/1.1 201 ")
        with trio.fail_after(2 * GOODBYE_S):
            await site.stopped.wait()
        for stream in (busy, idle, silent):
            await stream.aclose()


async def test_who_does_not_read_is_cut_at_the_end_of_the_drain(identity: Identity) -> None:
    async with secure(identity, drain_s=0.3) as site:
        stream = await dialed(site)
        stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with trio.move_on_after(0.5):
            await stream.send_all(GET * 20_000)
        site.stop.set()
        with trio.fail_after(5):
            await site.stopped.wait()
        await trio.aclose_forcefully(stream)


# --- the certificate


def shown(certificate: Certificate) -> bytes:
    """The certificate that the next client would see."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificate.context().wrap_bio(to_server, to_client, server_side=True)
    client = trusting().wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for side in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    der = client.getpeercert(binary_form=True)
    assert der is not None
    return der


def ends_at(metrics: Metrics) -> float:
    value = metrics.registry.get_sample_value("transport_certificate_end_timestamp_seconds")
    assert value is not None
    return value


async def test_a_renewed_certificate_is_shown_and_what_is_torn_is_not(
    identity: Identity,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    metrics: Metrics,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
) -> None:
    certificate = Certificate(identity.chain, identity.key, metrics)
    before = shown(certificate)
    nursery.start_soon(certificate.watch)
    renewed = Identity.new(tmp_path, "renewed", not_after=NOW + timedelta(days=90))
    renewed.chain.replace(identity.chain)  # half of the renewal: the key is still the old one's
    await trio.sleep(2 * LOOK_EVERY_S)
    assert shown(certificate) == before
    assert [record.message for record in caplog.records] == ["new certificate is of no use; the old one stays"]
    renewed.key.replace(identity.key)
    await trio.sleep(2 * LOOK_EVERY_S)
    assert shown(certificate) != before
    assert ends_at(metrics) == pytest.approx((NOW + timedelta(days=90)).timestamp(), abs=2)


async def test_one_that_has_expired_does_not_take_the_place_of_a_good_one(
    identity: Identity,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    metrics: Metrics,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
) -> None:
    certificate = Certificate(identity.chain, identity.key, metrics)
    before, end = shown(certificate), ends_at(metrics)
    nursery.start_soon(certificate.watch)
    old = Identity.new(tmp_path, "old", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))
    old.chain.replace(identity.chain)
    old.key.replace(identity.key)
    await trio.sleep(2 * LOOK_EVERY_S)
    assert (shown(certificate), ends_at(metrics)) == (before, end)
    assert [record.message for record in caplog.records] == ["new certificate has expired; the old one stays"]


@pytest.mark.parametrize(
    ("begin_days", "end_days", "told"), [(-9, -1, "certificate has expired"), (1, 9, "certificate is not valid yet")]
)
def test_a_start_with_a_certificate_out_of_its_time_is_told(
    begin_days: int, end_days: int, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, metrics: Metrics
) -> None:
    begin, end = NOW + timedelta(days=begin_days), NOW + timedelta(days=end_days)
    identity = Identity.new(tmp_path, not_before=begin, not_after=end)
    assert Certificate(identity.chain, identity.key, metrics).context()
    assert [record.message for record in caplog.records] == [f"{told}: clients will refuse it"]
    assert not ends_at(metrics) > time.time() + 1


async def test_a_running_service_takes_a_renewed_certificate_up(identity: Identity, tmp_path: Path) -> None:
    async with secure(identity) as site:

        async def seen() -> Any:
            stream = await dialed(site)
            await stream.do_handshake()
            certificate = stream.getpeercert()
            await stream.aclose()
            return certificate

        before = await seen()
        holding_on = await dialed(site)
        await holding_on.do_handshake()
        renewed = Identity.new(tmp_path, "renewed")
        renewed.chain.replace(identity.chain)
        renewed.key.replace(identity.key)
        while await seen() == before:  # noqa: ASYNC110 -- nobody tells
            await trio.sleep(0.05)
        await holding_on.send_all(LAST_GET)
        assert (await all_of(holding_on)).startswith(b"HTTP/1.1 200 ")
        await holding_on.aclose()


def test_a_key_may_be_in_the_certificates_file(identity: Identity, metrics: Metrics) -> None:
    identity.chain.write_bytes(identity.chain.read_bytes() + identity.key.read_bytes())
    assert Certificate(identity.chain, None, metrics).context()


def test_what_cannot_be_used_is_named_with_its_file(identity: Identity, tmp_path: Path, metrics: Metrics) -> None:
    other = Identity.new(tmp_path, "other")
    locked, torn = tmp_path / "locked.key", tmp_path / "torn.pem"
    secret = load_pem_private_key(identity.key.read_bytes(), None)
    locked.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    torn.write_bytes(identity.chain.read_bytes()[:200])
    for chain, key, reason in [
        (identity.chain, other.key, f"{identity.chain} is for another key"),
        (identity.chain, None, f"{identity.chain} holds no private key in PEM form; TLS_KEY_FILE names it"),
        (identity.chain, other.chain, f"{other.chain} holds no private key"),
        (identity.key, identity.key, f"{identity.key} holds no certificate"),
        (identity.chain, locked, f"{locked} has a passphrase"),
        (torn, identity.key, f"{torn} cannot be used"),
        (tmp_path / "none.pem", None, "none.pem cannot be read \\(No such file"),
        (tmp_path, None, "cannot be read \\(Is a directory"),
    ]:
        with pytest.raises(SettingsError, match=f"^TLS_CERTIFICATE_FILE: .*{reason}"):
            Certificate(chain, key, metrics)


def test_settings_want_files_and_both(identity: Identity) -> None:
    chain, key = str(identity.chain), str(identity.key)
    settings = Settings.from_environ({"TLS_CERTIFICATE_FILE": chain, "TLS_KEY_FILE": key})
    assert (settings.tls_certificate_file, settings.tls_key_file) == (identity.chain, identity.key)
    with pytest.raises(SettingsError, match="TLS_CERTIFICATE_FILE: '/nowhere'"):
        Settings.from_environ({"TLS_CERTIFICATE_FILE": "/nowhere"})
    with pytest.raises(SettingsError, match="TLS_KEY_FILE: there is no certificate"):
        Settings.from_environ({"TLS_KEY_FILE": key})
