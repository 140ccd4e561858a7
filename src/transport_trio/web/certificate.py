"""The certificate that TLS clients are shown; read again when its files change, since those that are kept well change
every few weeks."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from transport_trio.concurrency import every
from transport_trio.errors import SettingsError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


class Certificate:
    """A chain and its private key, as PEM files; `key` is None when the key is in the chain's file.

    Raises:
        SettingsError: they cannot be read, or do not belong together.
    """

    def __init__(self, chain: Path, key: Path | None) -> None:
        self._chain = chain
        self._key = key
        self._read_at = self._stamp()
        try:
            self._context = self._read()
        except OSError as exc:
            raise SettingsError(
                f"TLS_CERTIFICATE_FILE={chain}{f' TLS_KEY_FILE={key}' if key else ''}: cannot be used ({_words(exc)}); "
                "give a certificate and its key without a passphrase, both PEM"
            ) from exc

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        return self._context

    async def watch(self) -> None:
        """Task body: take what is new in the files. What cannot be used is logged, and the old one stays."""
        await every(LOOK_EVERY_S, self._look)

    async def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._read_at:
            return
        self._read_at = stamp
        try:
            self._context = self._read()
        except OSError as exc:
            log.warning("new certificate cannot be used; the old one stays", extra={"error": _words(exc)})
        else:
            log.info("certificate read again", extra={"file": str(self._chain)})

    def _stamp(self) -> list[tuple[int, int, int] | None]:
        return [_state(path) for path in (self._chain, self._key) if path is not None]

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # TLS 1.2 at the least
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION
        # Trio keeps tickets back until the stream first sends, and an upgrade takes the session away before it has.
        context.num_tickets = 0
        context.load_cert_chain(self._chain, self._key, password="")  # else it would ask at the terminal
        return context


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_ctime_ns


def _words(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "OpenSSL cannot read it").lower().replace("_", " ")
    return exc.strerror or str(exc)
