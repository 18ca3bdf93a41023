import sys
from pathlib import Path

import pytest

from autoflow.hyperparameters import Hyperparameters
from selfflow.runs.config import replace_values

sys.path.insert(0, str(Path(__file__).parent))  # for `tracer` and `known`

EFFECTS = ("soft_edges", "defocus", "motion_blur", "fog", "shadows", "noise", "exposure", "jpeg")


@pytest.fixture(scope="session")
def plain() -> Hyperparameters:
    """The default set with all effects off."""
    return replace_values(Hyperparameters(), {f"effects.{name}": 0.0 for name in EFFECTS})
