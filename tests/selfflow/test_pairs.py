from dataclasses import fields

import pytest
import torch

from selfflow.pairs import Pairs

IMAGE = torch.rand(2, 3, 4, 5)
FLOW = torch.zeros(2, 2, 4, 5)
MASK = torch.ones(2, 1, 4, 5, dtype=torch.bool)


def test_the_length_is_the_number_of_pairs() -> None:
    assert len(Pairs(IMAGE, IMAGE)) == 2


def test_moving_keeps_everything_and_leaves_out_what_is_missing() -> None:
    values = (IMAGE, IMAGE + 1, FLOW, MASK, ~MASK, MASK)
    whole = Pairs(*values).to("cpu")
    for field, expected in zip(fields(Pairs), values, strict=True):
        assert torch.equal(getattr(whole, field.name), expected)
    bare = Pairs(IMAGE, IMAGE).to(torch.device("meta"))
    assert bare.image1.device.type == bare.image2.device.type == "meta"
    assert bare.flow is bare.valid is bare.visible is bare.foreground is None


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"image1": IMAGE[:, :1]}, "image1"),
        ({"image2": IMAGE[0]}, "image2"),
        ({"flow": IMAGE}, "flow"),
        ({"valid": FLOW[:, :1]}, "valid"),
        ({"visible": MASK[:, 0]}, "visible"),
        ({"foreground": FLOW[:, :1]}, "foreground"),
    ],
)
def test_a_wrong_tensor_is_named(arguments: dict[str, torch.Tensor], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Pairs(**{"image1": IMAGE, "image2": IMAGE, **arguments})
