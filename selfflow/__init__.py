"""Optical flow: networks, losses, self-supervised training, and what every run needs.

    import selfflow

    model = selfflow.load("s-af-small")
    flow = model(image1, image2)

`selfflow.load` says what it takes and returns. It is imported when it is first used, so that
`import selfflow` is quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfflow.models import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from selfflow.models import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
