import pytest
import torch
import torch.nn.functional as F

from representation.readout.dense.heads import Heads


def test_linear_heads_are_a_convolution_each_on_normalised_features() -> None:
    torch.manual_seed(0)
    heads = Heads("linear", 6, 4, 3).double()
    features = 5 + 3 * torch.randn(2, 6, 5, 7, dtype=torch.float64)
    outputs = heads(features)
    assert outputs.shape == (2, 3, 4, 5, 7)
    mean = features.mean((0, 2, 3), keepdim=True)
    deviation = (features.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    for number, head in enumerate(heads.heads):
        expected = F.conv2d((features - mean) / deviation, head.weight, head.bias)
        torch.testing.assert_close(outputs[:, number], expected)
    assert not torch.equal(outputs[:, 0], outputs[:, 1])
    plain = Heads("linear", 6, 4, 1, normalise=False).double()
    expected = F.conv2d(features, plain.heads[0].weight, plain.heads[0].bias)
    torch.testing.assert_close(plain(features)[:, 0], expected)


@pytest.mark.parametrize("kind", ["deeplabv3", "fcn16s"])
def test_heavier_heads_keep_the_cells_and_look_around(kind: str) -> None:
    torch.manual_seed(0)
    heads = Heads(kind, 8, 5, 1, normalise=False).eval()  # type: ignore[arg-type]
    features = torch.randn(1, 8, 15, 15, requires_grad=True)
    outputs = heads(features)
    assert outputs.shape == (1, 1, 5, 15, 15)
    outputs[0, 0, :, 7, 7].sum().backward()
    assert features.grad is not None
    reach = features.grad.abs().sum((0, 1)) > 0
    assert reach[7, 1]
    assert reach[1, 7]
    if kind == "fcn16s":  # two convolutions dilated by 6 see cells 0, 6 and 12 away
        assert reach.nonzero().flatten().unique().tolist() == [1, 7, 13]
