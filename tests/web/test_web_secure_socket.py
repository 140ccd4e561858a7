"""The socket that encrypts as it is written to: what it says was taken arrives, once and in order."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from identity import Identity, trusting
from transport_trio.web.secure import ANSWERS_MAX_BYTES, RECORD_BYTES, SecureSocket

BUFFER_BYTES = 8 * 1024


@contextmanager
def connected(folder: Path, early: bytes = b"") -> Iterator[tuple[SecureSocket, Client]]:
    """Our end, and a client that has shaken hands and perhaps said something, with little room between them."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = Identity.new(folder).context()
    ours.num_tickets = 0
    server = ours.wrap_bio(to_server, to_client, server_side=True)
    client = trusting().wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    if early:
        client.write(early)
    left, right = socket.socketpair()
    with left, right:
        for one in (left, right):
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        yield SecureSocket(left, server, to_server, to_client), Client(right, client, to_client, to_server)


class Client:
    def __init__(
        self, sock: socket.socket, object_: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self.socket = sock
        self._object = object_
        self._incoming = incoming
        self._outgoing = outgoing
        self.heard = b""

    def read(self, max_bytes: int) -> None:
        """Take so much from the wire, and decrypt what is whole."""
        with suppress(BlockingIOError):
            self._incoming.write(self.socket.recv(max_bytes))
        with suppress(ssl.SSLWantReadError):
            while data := self._object.read(65536):
                self.heard += data

    def read_to_the_end(self) -> bool:
        """Whether it was an end within TLS."""
        self.socket.setblocking(True)
        while data := self.socket.recv(65536):
            self._incoming.write(data)
        self._incoming.write_eof()
        try:
            while data := self._object.read(65536):
                self.heard += data
        except ssl.SSLEOFError:
            return False
        return True

    def goodbye(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self._object.unwrap()
        return self._outgoing.read()

    def encrypted(self, data: bytes) -> bytes:
        self._object.write(data)
        return self._outgoing.read()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_room_there_is_all_arrives_once_and_in_order(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    said = chance.randbytes(300_000)
    with connected(tmp_path) as (ours, client):
        at = 0
        waited = 0
        while at < len(said):
            try:
                at += ours.send(said[at : at + chance.choice([1, 2, 157, 5000, 70_000])])
            except BlockingIOError:
                waited += 1
            if chance.random() < 0.5:
                client.read(chance.choice([1, 100, 20_000]))
        while len(client.heard) < len(said):
            client.read(65536)
        assert client.heard == said
        assert waited > 10


def test_no_more_is_encrypted_than_there_is_room_for_and_a_record(tmp_path: Path) -> None:
    with connected(tmp_path) as (ours, client):
        before = ours.send(bytes(1_000_000))
        client.read(1_000_000)
        assert before < BUFFER_BYTES * 4 + RECORD_BYTES
        assert before - RECORD_BYTES <= len(client.heard)


def test_a_record_that_has_come_in_part_is_nothing_yet(tmp_path: Path) -> None:
    with connected(tmp_path) as (ours, client):
        with pytest.raises(BlockingIOError):
            ours.recv(100)
        record = client.encrypted(b"hello") + client.encrypted(b"world")
        for byte in record[:-1]:
            client.socket.send(bytes([byte]))
            with suppress(BlockingIOError):
                assert ours.recv(100) == b"hello"
            if not ours.may_have_more:
                continue
            with pytest.raises(BlockingIOError):  # what waits for the kernel must not be asked for again and again
                ours.recv(100)
            assert not ours.may_have_more
        client.socket.send(record[-1:])
        assert ours.recv(100) == b"world"
        client.socket.close()
        with pytest.raises(BlockingIOError):
            ours.recv(100)
        assert ours.recv(100) == b""


def test_records_that_come_together_are_had_without_more_from_the_kernel(tmp_path: Path) -> None:
    with connected(tmp_path) as (ours, client):
        with pytest.raises(BlockingIOError):
            ours.recv(100)
        client.socket.send(client.encrypted(b"hello") + client.encrypted(b"world"))
        assert ours.recv(100) == b"hello"
        assert ours.may_have_more
        assert ours.recv(100) == b"world"
        with pytest.raises(BlockingIOError):
            ours.recv(100)
        assert not ours.may_have_more


def test_what_came_behind_the_handshake_is_had_without_more_from_the_kernel(tmp_path: Path) -> None:
    with connected(tmp_path, early=b"early") as (ours, _client):
        assert ours.may_have_more
        assert ours.recv(100) == b"early"


def test_a_goodbye_within_tls_is_an_end(tmp_path: Path) -> None:
    with connected(tmp_path) as (ours, client):
        client.socket.send(client.encrypted(b"that was all") + client.goodbye())
        with pytest.raises(BlockingIOError):
            ours.recv(100)
        assert ours.recv(100) == b"that was all"
        assert ours.recv(100) == b""


def test_closing_says_goodbye_but_not_in_the_middle_of_a_record(tmp_path: Path) -> None:
    with connected(tmp_path) as (ours, client):
        assert ours.send(b"hello") == 5
        ours.close()
        assert client.read_to_the_end()
        assert client.heard == b"hello"
    with connected(tmp_path) as (ours, client):
        taken = ours.send(bytes(1_000_000))
        client.read(1_000_000)  # makes room for a goodbye that must not come now
        ours.close()
        assert not client.read_to_the_end()
        assert len(client.heard) < taken + 1


class Unfinished:
    """TLS in the middle of a handshake message that does not end; every read leaves an answer of so many bytes."""

    def __init__(self, outgoing: ssl.MemoryBIO, answer: bytes = b"") -> None:
        self._outgoing = outgoing
        self._answer = answer

    def read(self, _max_bytes: int) -> bytes:
        self._outgoing.write(self._answer)
        raise ssl.SSLWantReadError

    def write(self, _data: memoryview) -> int:
        raise ssl.SSLWantReadError


@pytest.mark.parametrize("answer", [b"", b"x" * 30])
def test_who_speaks_tls_and_says_nothing_is_given_up(answer: bytes) -> None:
    outgoing = ssl.MemoryBIO()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        ours = SecureSocket(left, Unfinished(outgoing, answer), ssl.MemoryBIO(), outgoing)  # type: ignore[arg-type]

        def flood() -> None:
            for _ in range(1000):
                right.send(bytes(100))
                with suppress(BlockingIOError):
                    ours.recv(100)

        with pytest.raises(ConnectionAbortedError):
            flood()
        assert outgoing.pending < 2 * ANSWERS_MAX_BYTES


def test_who_can_be_told_nothing_has_gone() -> None:
    """A lack of room would be waited for, in vain and without a rest."""
    left, right = socket.socketpair()
    with left, right:
        outgoing = ssl.MemoryBIO()
        ours = SecureSocket(left, Unfinished(outgoing), ssl.MemoryBIO(), outgoing)  # type: ignore[arg-type]
        with pytest.raises(ConnectionAbortedError):
            ours.send(b"hello")
