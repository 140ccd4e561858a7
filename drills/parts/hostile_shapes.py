"""What hostile clients send: requests hidden in requests, frames that are none, bombs. Data for `hostile_bytes`."""

from __future__ import annotations

import gzip

import attrs

from drills.frame.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

JSON = b"Content-Type: application/json\r\n"


def creation(name: str) -> bytes:
    """A whole request that would make a room of this name."""
    body = b'{"provider":"daily","room_config":{"name":"%b"}}' % name.encode()
    return b"POST /sessions HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (JSON, len(body), body)


@attrs.frozen
class Shape:
    """A request, and the statuses of all answers that it may get."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]


def post(headers: bytes, body: bytes) -> bytes:
    return b"POST /sessions HTTP/1.1\r\nHost: x\r\n" + JSON + headers + b"\r\n" + body


def smuggling(hidden: bytes) -> list[Shape]:
    """Each hides the request `hidden` where some proxy would not see it, or sees it and we must not."""
    size = b"Content-Length: %d\r\n" % len(hidden)
    chunked = b"Transfer-Encoding: chunked\r\n"
    zero = b"0\r\n\r\n"
    one_chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    closing = b"Connection: close\r\n"
    old = post(b"Content-Length: 2\r\n", b"{}").replace(b"HTTP/1.1", b"HTTP/1.0") + hidden
    large = b"Content-Length: 100000\r\n"
    padded = hidden + b" " * (100_000 - len(hidden))
    return [
        Shape("CL.TE", post(b"Content-Length: %d\r\n" % (len(zero) + len(hidden)) + chunked, zero + hidden), (400,)),
        Shape("TE.CL", post(chunked + b"Content-Length: 4\r\n", one_chunk), (400,)),
        Shape("CL.0 and TE", post(b"Content-Length: 0\r\n" + chunked, zero + hidden), (400,)),
        Shape("TE xchunked", post(b"Transfer-Encoding: xchunked\r\n", zero + hidden), (501,)),
        Shape("TE chunked, identity", post(b"Transfer-Encoding: chunked, identity\r\n", zero + hidden), (501,)),
        Shape("TE twice", post(chunked + chunked, zero + hidden), (501,)),
        Shape("TE folded", post(b"Transfer-Encoding:\r\n chunked\r\n", zero + hidden), (400,)),
        Shape("TE with a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", zero + hidden), (400,)),
        Shape("TE with a blank before the colon", post(b"Transfer-Encoding : chunked\r\n", zero + hidden), (400,)),
        Shape("TE behind a blank", post(b"X: y\r\n Transfer-Encoding: chunked\r\n" + size, hidden), (400,)),
        Shape("TE behind a bare LF", post(b"X: y\nTransfer-Encoding: chunked\r\n", zero + hidden), (400,)),
        Shape("a request behind two bare LFs", post(b"X: y\n\n" + hidden, b""), (400,)),
        Shape("a request behind a bare CR", post(b"X: y\r\r" + hidden.replace(b"\r\n", b"\r") + b"\r\n", b""), (400,)),
        Shape("CL twice, unequal", post(size + b"Content-Length: 0\r\n", hidden), (400,)),
        Shape("CL as a list, unequal", post(b"Content-Length: 0, %d\r\n" % len(hidden), hidden), (400,)),
        Shape("CL with a sign", post(b"Content-Length: +0\r\n", hidden), (400,)),
        Shape("CL in hexadecimal", post(b"Content-Length: 0x0\r\n", hidden), (400,)),
        Shape("CL negative", post(b"Content-Length: -1\r\n", hidden), (400,)),
        Shape("CL larger than any number", post(b"Content-Length: %b\r\n" % (b"9" * 30), hidden), (400,)),
        Shape("CL, and a body that is a request", post(size + b"Connection: close\r\n", hidden), (400,)),
        Shape("a request in a refused body", post(large, padded), (413,)),
        Shape("a request in a body at a wrong path", padded_at(b"/nothing", hidden), (404,)),
        Shape("a chunk size that overflows", post(chunked, b"1" + b"0" * 16 + b"\r\n" + padded), (413,)),
        Shape("a chunk size of 21 digits", post(chunked, b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n" + hidden), (400,)),
        Shape("a chunk size with a sign", post(chunked, b"+0\r\n\r\n" + hidden), (400,)),
        Shape("a chunk that is longer than it says", post(chunked, b"2\r\n{}xx0\r\n\r\n" + hidden), (400,)),
        Shape("a chunk extension of 1 MiB", post(chunked, b"0;" + b"x" * 2**20 + b"\r\n\r\n" + hidden), (431,)),
        Shape("a request in a trailer", post(chunked + closing, b"2\r\n{}\r\n0\r\nX: y\n" + hidden), (400,)),
        Shape("a request behind the last", last(hidden), (400,)),
        Shape("a request behind HTTP/1.0", old, (400,)),
        Shape("a request behind an upgrade that fails", bad_upgrade() + hidden, (400,)),
        Shape("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden, (505,)),
        Shape("HTTP/0.9", b"GET /\r\n\r\n" + hidden, (400,)),
        Shape("no Host", b"POST /sessions HTTP/1.1\r\n" + size + b"\r\n" + hidden, (400,)),
        Shape("two Hosts", post(b"Host: y\r\n" + size, hidden), (400,)),
        Shape("a NUL in a name", post(b"X\0: y\r\n" + size, hidden), (400,)),
    ]


def padded_at(path: bytes, hidden: bytes) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 70000\r\n\r\n" % path
    return head + hidden + b" " * (70_000 - len(hidden))


def last(hidden: bytes) -> bytes:
    return post(b"Content-Length: 2\r\nConnection: close\r\n", b"{}") + hidden


def bad_upgrade() -> bytes:
    return (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )


def oversized() -> list[Shape]:
    line = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    return [
        Shape("one header of 1 MiB", line + b"X: " + b"y" * 2**20 + b"\r\n\r\n", (431,)),
        Shape("10,000 small headers", line + b"".join(b"X%d: y\r\n" % n for n in range(10_000)) + b"\r\n", (431,)),
        Shape("a target of 64 KiB", b"GET /" + b"x" * 65_536 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (431,)),
        Shape("a method of 20 KiB", b"X" * 20_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n", (431,)),
    ]


def bombs() -> list[Shape]:
    squeezed = gzip.compress(b"[" * 50_000_000)
    deep = b"[" * 60_000
    keys = b'{"provider":"daily",' + b",".join(b'"k%d":0' % n for n in range(5_000)) + b"}"
    number = b'{"provider":"daily","options":{"session_ttl_s":' + b"9" * 60_000 + b"}}"
    bodies = {"gzip, 50 MB": squeezed, "60,000 levels of JSON": deep, "5,000 keys": keys, "60,000 digits": number}
    extra = {"gzip, 50 MB": b"Content-Encoding: gzip\r\n"}
    return [
        Shape(
            name,
            post(extra.get(name, b"") + b"Connection: close\r\nContent-Length: %d\r\n" % len(body), body),
            (400, 413),
        )
        for name, body in bodies.items()
    ]


@attrs.frozen
class Frames:
    """What a listener sends, and the close code that it gets for it."""

    name: str
    sent: bytes
    code: int


def malformed() -> list[Frames]:
    crumbs = frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * 5_119
    return [
        Frames("RSV1: compressed, though not negotiated", frame(TEXT, b"\xaa\x56\x2a\x01\x00", reserved=4), 1002),
        Frames("RSV2", frame(TEXT, b"{}", reserved=2), 1002),
        Frames("RSV3", frame(TEXT, b"{}", reserved=1), 1002),
        Frames("not masked", frame(TEXT, b"{}", mask=False), 1002),
        Frames("opcode 3", frame(3, b"{}"), 1002),
        Frames("opcode 15", frame(15), 1002),
        Frames("a ping in fragments", frame(PING, b"x", fin=False), 1002),
        Frames("a ping of 126 bytes", frame(PING, b"x" * 126), 1002),
        Frames("a continuation of nothing", frame(CONTINUATION, b"x"), 1002),
        Frames("a text within a text", frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        Frames("a length of 126 that would fit into less", b"\x81\xfe\x00\x05\0\0\0\0hello", 1002),
        Frames("a length with its highest bit", b"\x81\xff\xff" + b"\0" * 7 + b"\0\0\0\0", 1002),
        Frames("a length of 2 to the 62nd", b"\x82\xff\x40" + b"\0" * 7 + b"\0\0\0\0" + b"x" * 8_192, 1009),
        Frames("bad UTF-8", frame(TEXT, b"\xc3\x28"), 1007),
        Frames("half a character at the end", frame(TEXT, b"\xe2\x82"), 1007),
        Frames("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
        Frames("a close of one byte", frame(CLOSE, b"\x03"), 1002),
        Frames("a close for a reserved code", frame(CLOSE, b"\x03\xed"), 1002),
        Frames("a close for code 0", frame(CLOSE, b"\0\0"), 1002),
        Frames("a close with bad UTF-8", frame(CLOSE, b"\x03\xe8\xc3\x28"), 1007),
        Frames("5 KiB", frame(TEXT, b"x" * 5_120), 1009),
        Frames("5 KiB in fragments of one byte", crumbs, 1009),
        Frames("empty fragments without end", frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 5_000, 1009),
        Frames("5 KiB of binary", frame(BINARY, b"\0" * 5_120), 1009),
        Frames("HTTP after the upgrade", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
    ]
