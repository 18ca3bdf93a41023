"""Dense visual features, learned from video and its flow without labels."""

from representation.models import load

__all__ = ["load"]
