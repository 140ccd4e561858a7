"""Imports point downwards only (docs/architecture.md): a walk over every import of the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import transport_trio

PACKAGE = Path(transport_trio.__file__).parent
NAME = "transport_trio"

LEVELS = {
    0: {"models", "events", "errors", "ports", "__init__"},
    1: {"concurrency", "wire", "settings", "setting_forms", "setting_connectors", "metrics", "metrics_at_zero", "logs"},
    2: {"sessions", "connectors", "journal", "hub", "bus"},
    3: {"web"},
    4: {"cli", "runtime", "domains", "__main__"},
}
LEVEL_OF = {room: level for level, rooms in LEVELS.items() for room in rooms}
# Only these may know the library; everything else meets it through a port.
OWNERS = {
    "httpx": {"connectors", "cli", "sandbox"},
    "nats": {"bus"},
    "trio_asyncio": {"bus", "runtime"},
    "sqlite3": {"journal"},
    "quart": {"web", "sandbox"},
    "quart_trio": {"web", "sandbox"},
    "hypercorn": {"web", "sandbox"},
    "trio_websocket": {"cli"},
    "click": {"cli"},
    "jwt": {"sandbox", "connectors"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == NAME else {node.module}
    return found


SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_a_level() -> None:
    rooms = {room_of(path) for path in SOURCES}
    assert rooms <= set(LEVEL_OF) | {"sandbox"}
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    mine = room_of(path)
    for module in imports_of(path):
        top, _, rest = module.partition(".")
        if top != NAME:
            assert mine in OWNERS.get(top, {mine}), f"{mine} must not know {top}"
            continue
        theirs = rest.split(".")[0]
        if theirs in {mine, "", "__version__"}:
            continue
        if mine == "sandbox":
            assert LEVEL_OF[theirs] <= 1, f"the sandbox is a program of its own; it imports {theirs}"
        elif theirs == "sandbox":
            assert mine == "cli", f"{mine} must not import the sandbox"
        else:
            assert (
                LEVEL_OF[theirs] < LEVEL_OF[mine]
                or ((mine, theirs) in {("cli", "runtime"), ("runtime", "domains"), ("__main__", "cli")})
                or (LEVEL_OF[mine] <= 1 and LEVEL_OF[theirs] == LEVEL_OF[mine])
            ), f"{mine} imports {theirs}"
