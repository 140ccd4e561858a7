"""What is behind the links to recordings and transcripts: some bytes, for whoever has a link that is still good."""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import partial
from urllib.parse import quote, urlencode

from transport_trio.sandbox.captures import Capture
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.edge import Route
from transport_trio.sandbox.exchange import Answer, Request
from transport_trio.sandbox.operations import ApiRequest
from transport_trio.sandbox.refusals import ApiError, invalid

PREFIX = "/sandbox"
VALID_S = 3600
# An empty film: the boxes `ftyp` and `mdat` of ISO 14496-12, and nothing in the latter.
FILM = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\x00\x00\x00\x08mdat"
TYPES = {"recording": b"video/mp4", "transcription": b"text/vtt"}


def access_link(sandbox: Sandbox, capture: Capture, request: ApiRequest) -> tuple[str, int]:
    """The link, and the unix time until which it is good.

    Raises:
        ApiError: `valid_for_secs` makes no sense.
    """
    text = request.query.get("valid_for_secs", str(VALID_S))
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise invalid(f"valid_for_secs was '{text}' but should be a positive integer")
    expires = int(request.now) + int(text)
    query = urlencode({"expires": expires, "signature": _signature(sandbox, capture.id, str(expires))})
    # No key comes along with it, so the path says whose file it is.
    domain = quote(sandbox.config.domain, safe="")
    return f"http://{request.host}{PREFIX}/domains/{domain}/files/{capture.id}?{query}", expires


def file_routes(sandbox: Sandbox) -> list[Route]:
    return [("GET", f"{PREFIX}/files/<id>", partial(_serve, sandbox))]


async def _serve(sandbox: Sandbox, request: Request) -> Answer:
    id_, expires = request.args["id"], request.query.get("expires", "")
    now = sandbox.settle()
    signature = _signature(sandbox, id_, expires)
    good = hmac.compare_digest(signature.encode(), request.query.get("signature", "").encode())
    if not good or int(expires) <= now:
        raise ApiError(403, "forbidden-error", "the link is not good, or not any more")
    for capture in (*sandbox.captures.known("recording"), *sandbox.captures.known("transcription")):
        if capture.id == id_:
            return Answer(_content(capture), content_type=TYPES[capture.kind])
    raise ApiError(404, "not-found", "it is deleted")


def _content(capture: Capture) -> bytes:
    if capture.kind == "recording":
        return FILM
    minutes, seconds = divmod(capture.duration_s, 60)
    end = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.000"
    return f"WEBVTT\n\n00:00:00.000 --> {end}\n<v Sandbox>Nobody said anything in {capture.room_name}.\n".encode()


def _signature(sandbox: Sandbox, id_: str, expires: str) -> str:
    return hmac.digest(sandbox.config.api_key.encode(), f"{id_} {expires}".encode(), hashlib.sha256).hex()
