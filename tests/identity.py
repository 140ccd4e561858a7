"""Certificates of an authority that only the tests trust."""

from __future__ import annotations

import ssl
from datetime import datetime
from functools import cache
from pathlib import Path

import attrs
import trustme


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@attrs.frozen
class Identity:
    """A certificate for 127.0.0.1 with its key, as files."""

    chain: Path
    key: Path
    authority: Path

    @classmethod
    def new(cls, folder: Path, name: str = "server", **validity: datetime) -> Identity:
        identity = cls(folder / f"{name}.pem", folder / f"{name}.key", folder / "authority.pem")
        issued = authority().issue_cert("127.0.0.1", **validity)
        identity.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        identity.key.write_bytes(issued.private_key_pem.bytes())
        authority().cert_pem.write_to_path(identity.authority)
        return identity

    def context(self) -> ssl.SSLContext:
        """For a server that shows it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.chain, self.key)
        return context

    @property
    def settings(self) -> dict[str, Path]:
        return {"tls_certificate_file": self.chain, "tls_key_file": self.key}


def trusting() -> ssl.SSLContext:
    """What a client needs that trusts the authority, and nobody else."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context
