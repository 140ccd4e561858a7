from __future__ import annotations

import pytest

from fakes_hub import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()
