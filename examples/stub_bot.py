"""Stands in for a Pipecat process: gets ROOM_URL and TOKEN, "joins", and leaves when it is told to."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    room_url, token = os.environ["ROOM_URL"], os.environ["TOKEN"]
    stopping = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    # A real bot hands both to its transport; the token is a secret and stays out of every line.
    print(f"bot: joined {room_url} with a token of {len(token)} characters", flush=True)
    signal.sigwait(stopping)
    print("bot: left", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
