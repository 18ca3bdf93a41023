"""Learned synthetic training sets for optical flow: renderer, stream and search."""

from autoflow.hyperparameters import Hyperparameters as Hyperparameters
from autoflow.render import render as render
from autoflow.stream import stream as stream

__all__ = ["Hyperparameters", "render", "stream"]
