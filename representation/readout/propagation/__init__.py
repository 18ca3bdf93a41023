"""Masks propagated through video by nearest neighbours in feature space."""

from representation.readout.propagation.task import Propagation

__all__ = ["Propagation"]
