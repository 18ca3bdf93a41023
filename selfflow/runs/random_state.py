"""The states of the global random generators, as values that a checkpoint can hold."""

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of python's, numpy's and torch's generators: tensors and plain values."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one is the point
    assert isinstance(state, dict)
    twister = state["state"]
    return {
        "python": random.getstate(),
        "numpy": {**state, "state": {**twister, "key": torch.from_numpy(twister["key"].copy())}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators to a state that `random_state` returned.

    States of GPUs are left alone where their number differs.
    """
    random.setstate(state["python"])
    twister = state["numpy"]["state"]
    key = {**twister, "key": twister["key"].numpy()}
    np.random.set_state({**state["numpy"], "state": key})  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
