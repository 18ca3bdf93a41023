"""The pre-training methods by name. A new one is a file beside these and a line here."""

from representation.method import Method
from representation.methods.flowe import FlowE

METHODS: dict[str, type[Method]] = {"flowe": FlowE}
