import torch
from torch import nn

from representation.heads import perceptron
from representation.momentum import follow, target_of


def test_the_target_follows_in_its_parameters_alone():
    online = perceptron(3, 8, 4)
    target = target_of(online)
    before = [p.clone() for p in target.parameters()]
    for module in (online, target):
        assert module.training
    with torch.no_grad():
        for p in online.parameters():
            p.normal_()
    online[1].running_mean.fill_(5.0)
    follow(target, online, 0.75)
    for old, slow, fast in zip(before, target.parameters(), online.parameters(), strict=True):
        torch.testing.assert_close(slow, 0.75 * old + 0.25 * fast)
        assert not slow.requires_grad
    assert torch.equal(target[1].running_mean, torch.zeros(8))


def test_momentum_of_one_and_zero_keep_and_copy():
    online, target = nn.Linear(2, 2), nn.Linear(2, 2)
    before = target.weight.clone()
    follow(target, online, 1.0)
    assert torch.equal(target.weight, before)
    follow(target, online, 0.0)
    assert torch.equal(target.weight, online.weight)


def test_a_head_maps_every_position_by_itself_as_a_perceptron():
    head = perceptron(6, 10, 4).eval()
    features = torch.randn(2, 6, 3, 5)
    mlp = nn.Sequential(
        nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4, bias=False)
    ).eval()
    state = {k: v.flatten(1) if v.ndim == 4 else v for k, v in head.state_dict().items()}
    mlp.load_state_dict(state)
    expected = mlp(features.permute(0, 2, 3, 1).reshape(-1, 6)).view(2, 3, 5, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(head(features), expected)
