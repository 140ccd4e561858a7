"""Any bytes at all: one connection may suffer, the service and the other listeners do not."""

from __future__ import annotations

import logging
from contextlib import suppress

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from socket_rig import TEXT, client_frame, peer, serving

payloads = st.binary(max_size=40) | st.sampled_from(
    [b'{"type":"ping"}', b'{"type":"subscribe","session_ids":null}', b"x" * 4097, b"\xff", b"\x03\xe8"]
)
frames = st.builds(
    lambda opcode, payload, fin, mask: client_frame(opcode, payload, fin=fin, mask=mask),
    st.sampled_from((0, 1, 2, 8, 9, 10)) | st.integers(0, 15),
    payloads,
    st.sampled_from((True, True, False)),
    st.sampled_from((True, True, True, False)),
)
pieces = st.lists(frames | frames | st.binary(max_size=60), max_size=8)


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@given(st.lists(st.tuples(pieces, st.booleans()), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_bytes_leave_the_service_and_the_others_unharmed(strangers: list[tuple[list[bytes], bool]]) -> None:
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)

    async def main() -> None:
        async with serving() as rig, peer(rig) as other:
            for chunks, in_one_piece in strangers:
                async with peer(rig) as stranger:
                    with suppress(trio.BrokenResourceError):
                        for chunk in [b"".join(chunks)] if in_one_piece else chunks:
                            await stranger.stream.send_all(chunk)
                            await trio.lowlevel.checkpoint()
                (told,) = rig.happen("a")
                assert (await other.receive_json())["id"] == told
            await other.send(TEXT, b'{"type":"ping"}')
            assert await other.receive_json() == {"type": "pong"}

    try:
        trio.run(main)
    finally:
        logging.getLogger().removeHandler(complaints)
    assert not complaints.records
