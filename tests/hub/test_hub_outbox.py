"""What waits for room: whole frames in order, whatever is taken when and whatever is given up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport_trio.hub.outbox import Outbox
from transport_trio.wire.socket import Close, close_frame, frames_end, text_frame

SIZES = (0, 1, 125, 126, 3000, 70_000)
run_of_frames = st.lists(st.sampled_from(SIZES), min_size=1, max_size=4)
steps = st.lists(
    st.tuples(st.just("put"), run_of_frames, st.booleans())
    | st.tuples(st.just("flush"), st.integers(0, 80_000))
    | st.tuples(st.just("drop"), st.booleans()),
    max_size=20,
)


class Kernel:
    """Takes what there is room for, at most 10,000 bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""
        self.room = 0

    def send(self, data: memoryview) -> int:
        if not self.room:
            raise BlockingIOError
        size = min(len(data), self.room, 10_000)
        self.taken += data[:size]
        self.room -= size
        return size


class Model:
    """Frames by number, so that it can be told which have arrived."""

    def __init__(self) -> None:
        self.outbox, self.kernel = Outbox(), Kernel()
        self.frames: list[bytes] = []
        self.waiting: list[tuple[int, bool]] = []  # the number of a frame, and whether it is paced
        self.arrived: list[int] = []
        self.at = 0  # how much of the first that waits has gone

    def put(self, sizes: list[int], paced: bool) -> None:
        frames = []
        for size in sizes:
            frames.append(text_frame(b"%06d" % len(self.frames) + b"x" * size))
            self.waiting.append((len(self.frames), paced))
            self.frames.append(frames[-1])
        self.outbox.put(b"".join(frames), paced=paced)

    def flush(self, room: int) -> None:
        self.kernel.room = room
        while True:  # a send that took less than all may have been one of many
            went = self.outbox.flush(self.kernel.send)
            self._note(went)
            if not went:
                break

    def _note(self, went: int) -> None:
        self.at += went
        while self.waiting and self.at >= len(self.frames[self.waiting[0][0]]):
            number, _ = self.waiting.pop(0)
            self.at -= len(self.frames[number])
            self.arrived.append(number)

    def drop(self, only_paced: bool) -> None:
        self.outbox.drop(only_paced=only_paced)
        begun = self.waiting[:1] if self.at else []
        rest = self.waiting[len(begun) :]
        self.waiting = begun + ([entry for entry in rest if not entry[1]] if only_paced else [])

    def check(self) -> None:
        assert self.outbox.is_empty == (not self.waiting)
        backlog = sum(len(self.frames[number]) for number, paced in self.waiting if not paced)
        if self.waiting and not self.waiting[0][1]:
            backlog -= self.at
        assert self.outbox.backlog_bytes == backlog


@given(steps)
def test_what_arrives_is_whole_and_in_order(script: list[tuple[Any, ...]]) -> None:
    model = Model()
    for name, *arguments in script:
        getattr(model, name)(*arguments)
        model.check()
    model.flush(10_000_000)
    assert model.kernel.taken == b"".join(model.frames[number] for number in model.arrived)
    assert not model.waiting
    assert model.arrived == sorted(model.arrived)


def test_what_had_begun_to_go_before_it_was_put_is_not_sent_again() -> None:
    outbox, kernel = Outbox(), Kernel()
    run = text_frame(b"one") + text_frame(b"two")
    outbox.put(run, sent=4)
    assert outbox.backlog_bytes == 6
    kernel.room = 100
    outbox.flush(kernel.send)
    assert kernel.taken == run[4:]


@given(st.lists(st.sampled_from(SIZES), min_size=1, max_size=6), st.data())
def test_the_end_of_a_frame_is_found(sizes: list[int], data: st.DataObject) -> None:
    frames = [text_frame(b"x" * size) for size in sizes]
    ends = [sum(map(len, frames[: number + 1])) for number in range(len(frames))]
    at = data.draw(st.integers(0, ends[-1]))
    assert frames_end(b"".join(frames), at) == min(end for end in [0, *ends] if end >= at)


@pytest.mark.parametrize("reason", list(Close))
def test_every_goodbye_fits_into_a_control_frame(reason: Close) -> None:
    frame = close_frame(reason)
    assert frame[0] == 0x88
    assert frame[1] == len(frame) - 2 <= 125
    assert int.from_bytes(frame[2:4]) == reason.code
