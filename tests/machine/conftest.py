from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

# Always the same stories, so that a run fails for what was changed and not by chance.
settings.register_profile(
    "machine",
    max_examples=25,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "machine-long",
    settings.get_profile("machine"),
    max_examples=300,
    stateful_step_count=60,
    derandomize=False,
    phases=(Phase.generate, Phase.shrink),
    print_blob=True,
)
