"""Whatever happens in whatever order: state, events and deliveries agree with what was promised, after each step.

A short run with the same stories each time is part of `make test`. A long one with new stories each time:

    .venv/bin/python -m pytest tests/machine --hypothesis-profile=machine-long
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from machine_actions import GROUPS, LENGTHS
from machine_driver import Driver
from machine_faults import Faults
from machine_model import Model
from machine_rig import World

Act = tuple[str, dict[str, Any]]
# What follows often shows only when a room has been looked into, or a back-off is over.
WAITS = st.sampled_from((0.0, 0.0, 0.0, 2.0, 7.0, 16.0, 16.0))


def acts(*groups: str) -> st.SearchStrategy[Act]:
    return st.one_of([act for group in groups for act in GROUPS[group]])


class Sessions(RuleBasedStateMachine, Faults):
    """Few rules, each for many actions: Hypothesis leaves out some rules in each story, and repeats the others."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.world: World = self.driver.world
        self.model = Model(self.world)

    def teardown(self) -> None:
        self.driver.close()

    def _act(self, act: Act, wait_s: float) -> None:
        name, drawn = act
        getattr(self, name)(**drawn)
        if wait_s:
            self.time_passes(wait_s)

    @initialize(sessions=st.integers(0, 3), people=st.integers(0, 2), lag_s=st.sampled_from((0.0, 12.0, 25.0)))
    def begin(self, sessions: int, people: int, lag_s: float) -> None:
        self.world.provider.presence_lags_s = lag_s
        self.do(World.start)
        for _ in range(sessions):
            self.create(None, LENGTHS[2])
        self.all_agree()
        for which in range(people):
            self.somebody_joins(which, None, pushed=False)

    @rule(act=acts("callers", "people"), wait_s=WAITS)
    def they(self, act: Act, wait_s: float) -> None:
        self._act(act, wait_s)

    @rule(act=acts("people", "time"), wait_s=WAITS)
    def people(self, act: Act, wait_s: float) -> None:
        self._act(act, wait_s)

    @rule(act=acts("provider"), wait_s=WAITS)
    def provider(self, act: Act, wait_s: float) -> None:
        self._act(act, wait_s)

    @rule(act=acts("bus"), wait_s=WAITS)
    def bus(self, act: Act, wait_s: float) -> None:
        self._act(act, wait_s)

    @rule(act=acts("listeners"), wait_s=WAITS)
    def listeners(self, act: Act, wait_s: float) -> None:
        self._act(act, wait_s)

    @rule(act=acts("service"), wait_s=WAITS)
    def service(self, act: Act, wait_s: float) -> None:
        self._act(act, wait_s)

    @invariant()
    def all_agree(self) -> None:
        self.driver.look(self.model.check)


TestSessions = Sessions.TestCase
chosen = settings.get_current_profile_name()
TestSessions.settings = settings.get_profile(chosen if chosen.startswith("machine") else "machine")
