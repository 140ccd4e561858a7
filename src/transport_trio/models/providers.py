"""What is in a provider's name."""

from __future__ import annotations


def provider_kind(provider: str) -> str:
    """Whose vocabulary a connector speaks: `daily` for `daily` and for `daily-eu`, another domain of the same kind."""
    return provider.partition("-")[0]
