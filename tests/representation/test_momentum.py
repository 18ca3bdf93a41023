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
