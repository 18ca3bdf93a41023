"""Optical flow: networks, losses, self-supervised training, and what every run needs."""

from selfflow.models import load

__all__ = ["load"]
