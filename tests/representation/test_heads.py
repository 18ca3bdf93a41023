import torch
from torch import nn

from representation.heads import contrastive_head, perceptron


def assert_maps_each_position_as(head: nn.Sequential, mlp: nn.Sequential) -> None:
    """Compare with linear layers on vectors, the statistics in training mode included."""
    state = {k: v.flatten(1) if v.ndim == 4 else v for k, v in head.state_dict().items()}
    mlp.load_state_dict(state)
    features = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = mlp(features.permute(0, 2, 3, 1).reshape(-1, 6)).view(2, 3, 5, -1)
    torch.testing.assert_close(head(features), expected.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


def test_byols_head_is_a_perceptron_at_every_position():
    mlp = nn.Sequential(
        nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4, bias=False)
    )
    assert_maps_each_position_as(perceptron(6, 10, 4), mlp)


def test_mocos_head_has_no_normalisation():
    mlp = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4))
    assert_maps_each_position_as(contrastive_head(6, 10, 4), mlp)


def test_simclrs_head_normalises_twice_and_ends_without_a_bias():
    head = contrastive_head(6, 10, 4, normalised=True)
    mlp = nn.Sequential(
        nn.Linear(6, 10, bias=False),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.Linear(10, 4, bias=False),
        nn.BatchNorm1d(4),
    )
    assert_maps_each_position_as(head, mlp)
    trained = {name for name, p in head.named_parameters() if p.requires_grad}
    assert trained == {"0.weight", "1.weight", "1.bias", "3.weight", "4.weight"}
    assert torch.equal(head[4].bias, torch.zeros(4))
