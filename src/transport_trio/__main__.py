"""`python -m transport_trio` is `transport-trio`."""

from __future__ import annotations

from transport_trio.cli import main

if __name__ == "__main__":
    main()
