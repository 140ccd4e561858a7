"""The certificate that TLS clients are shown; read again when its files change, since those that are kept well change
every few weeks."""

from __future__ import annotations

import logging
import math
import ssl
import time
from contextlib import suppress
from pathlib import Path

import attrs

from transport_trio.concurrency import every
from transport_trio.errors import SettingsError
from transport_trio.metrics import Metrics

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
NOT_YET_VALID, HAS_EXPIRED = 9, 10  # as OpenSSL numbers its verdicts (X509_V_ERR_CERT_...)


class _Unusable(Exception):
    """Why a certificate or its key cannot be used, as the end of a sentence."""


@attrs.frozen
class _Loaded:
    context: ssl.SSLContext
    ends_at: float = math.nan  # seconds since 1970, where that can be told
    verdict: int = 0


class Certificate:
    """A chain and its private key, as PEM files; `key` is None when the key is in the chain's file.

    Raises:
        SettingsError: they cannot be read, or do not belong together.
    """

    def __init__(self, chain: Path, key: Path | None, metrics: Metrics) -> None:
        self._chain = chain
        self._key = key
        self._metrics = metrics
        self._read_at = self._stamp()
        try:
            self._loaded = self._take(_load(chain, key))
        except _Unusable as exc:
            raise SettingsError(f"TLS_CERTIFICATE_FILE: {exc}") from exc

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        return self._loaded.context

    async def watch(self) -> None:
        """Task body: take what is new in the files. What is of no use is logged, and the old one stays."""
        await every(LOOK_EVERY_S, self._look)

    async def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._read_at:
            return
        self._read_at = stamp
        try:
            loaded = _load(self._chain, self._key)
        except _Unusable as exc:
            log.warning("new certificate is of no use; the old one stays", extra={"error": str(exc)})
            return
        if loaded.verdict == HAS_EXPIRED:
            log.warning("new certificate has expired; the old one stays", extra={"file": str(self._chain)})
            return
        self._loaded = self._take(loaded)
        log.info("certificate read again", extra={"file": str(self._chain)})

    def _take(self, loaded: _Loaded) -> _Loaded:
        if loaded.verdict == HAS_EXPIRED:
            log.warning("certificate has expired: clients will refuse it", extra={"file": str(self._chain)})
        elif loaded.verdict == NOT_YET_VALID:
            log.warning("certificate is not valid yet: clients will refuse it", extra={"file": str(self._chain)})
        self._metrics.certificate_end.set(loaded.ends_at)
        return loaded

    def _stamp(self) -> list[tuple[int, int, int] | None]:
        return [_state(path) for path in (self._chain, self._key) if path is not None]


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_ctime_ns


def _load(chain: Path, key: Path | None) -> _Loaded:
    _check(chain, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # TLS 1.2 at the least
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Trio keeps tickets back until the stream first sends, and an upgrade takes the session away before it has.
    context.num_tickets = 0
    try:
        context.load_cert_chain(chain, key, password="")  # else it would ask at the terminal
        return _judge(context, chain)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            reason = "is for another key than the one given; of a chain, the service's own certificate comes first"
        else:
            reason = f"cannot be used with its key ({exc.reason or 'OpenSSL cannot read them'})"
        raise _Unusable(f"{chain} {reason}") from exc
    except OSError as exc:
        raise _Unusable(f"{chain} cannot be read ({exc.strerror or exc})") from exc


def _check(chain: Path, key: Path | None) -> None:
    """Find the faults for which OpenSSL has no words."""
    if b"-----BEGIN CERTIFICATE-----" not in _text(chain):
        raise _Unusable(f"{chain} holds no certificate in PEM form")
    secret = _text(key or chain)
    if b"PRIVATE KEY-----" not in secret:
        hint = "" if key else "; TLS_KEY_FILE names it where it is in a file of its own"
        raise _Unusable(f"{key or chain} holds no private key in PEM form{hint}")
    if b"ENCRYPTED" in secret:
        raise _Unusable(f"{key or chain} has a passphrase; give a key without one")


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _Unusable(f"{path} cannot be read ({exc.strerror or exc})") from exc


def _judge(context: ssl.SSLContext, chain: Path) -> _Loaded:
    """Show the certificate to a client of ours, in memory: Python decodes only what it has verified."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whatever is in the file is trusted
    client_context.load_verify_locations(chain)
    inwards, outwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(inwards, outwards, server_side=True)
    client = client_context.wrap_bio(outwards, inwards)
    try:
        for side in (client, server, client):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as exc:
        # When exactly it ended Python does not tell; now is late enough for an alert.
        return _Loaded(context, time.time() if exc.verify_code == HAS_EXPIRED else math.nan, exc.verify_code)
    shown = client.getpeercert()
    assert shown is not None
    return _Loaded(context, ssl.cert_time_to_seconds(str(shown["notAfter"])))
