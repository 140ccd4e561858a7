"""Addresses to stream to hold a key, and whoever has it can stream there: they are hidden in whatever Daily says."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "(hidden)"
# A scheme, perhaps a user, the host, which may be shown, and the rest up to where the text goes on.
ADDRESS = re.compile(r"""(rtmps?://)(?:[^/\s'"@]*@)?([^/\s'"?#]*)[^\s'"]*""", re.IGNORECASE)
# What is shorter is a word like `live`, and no key.
KEY_MIN_CHARS = 8


def without_addresses(text: str) -> str:
    """`text` with nothing but the host of each address to stream to."""
    return ADDRESS.sub(rf"\1\2/{HIDDEN}", text)


def without_keys(text: str, urls: Iterable[str]) -> str:
    """Likewise, and without any part of these addresses that could be a key."""
    for url in urls:
        _, _, rest = url.partition("://")
        for part in re.split(r"[/?#&=@:]", rest.partition("/")[2]):
            if len(part) >= KEY_MIN_CHARS:
                text = text.replace(part, HIDDEN)
    return without_addresses(text)
