"""Warm start: the flow of one pair is where the next begins."""

import pytest
import torch

from selfflow.flow import project_forward
from selfflow.models import load
from selfflow.raft import raft_small
from selfflow.runs.errors import UserError
from selfflow.warm_start import FlowInTurn


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return raft_small().eval()


def frames(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 3, 64, 72, generator=generator) for _ in range(count)]


@torch.no_grad()
def test_a_pair_begins_where_the_one_before_leads(network):
    first, second, third = frames(3)
    flow_of = FlowInTurn(network, 2, warm_start=True)
    before = flow_of(first, second)
    after = flow_of(second.clone(), third)
    assert torch.equal(before, network(first, second, 2))
    assert torch.equal(after, network(second, third, 2, project_forward(before)))
    assert not torch.equal(after, network(second, third, 2))
    assert flow_of.warm_started == 1


@torch.no_grad()
def test_another_video_begins_at_zero(network):
    first, second, third = frames(3)
    flow_of = FlowInTurn(network, 2, warm_start=True)
    flow_of(first, second)
    assert torch.equal(flow_of(third, first), network(third, first, 2))
    small = [frame[..., :64] for frame in (first, second)]
    assert torch.equal(flow_of(*small), network(*small, 2)), "also one of another size"
    assert flow_of.warm_started == 0


@torch.no_grad()
def test_what_was_found_earlier_may_be_remembered(network):
    first, second, third = frames(3)
    straight, resumed = (FlowInTurn(network, 2, warm_start=True) for _ in range(2))
    before = straight(first, second)
    resumed.remember(second, before.clone())
    assert torch.equal(straight(second, third), resumed(second, third))


@torch.no_grad()
def test_without_it_every_pair_begins_at_zero(network):
    first, second, third = frames(3)
    flow_of = FlowInTurn(network, 2)
    flow_of(first, second)
    assert torch.equal(flow_of(second, third), network(second, third, 2))


@pytest.mark.parametrize("name", ["zero", "dis", "farneback"])
def test_methods_without_a_network_are_refused(name):
    FlowInTurn(load(name), 1)
    with pytest.raises(UserError, match=f"{name} cannot be started"):
        FlowInTurn(load(name), 1, warm_start=True, name=name)
