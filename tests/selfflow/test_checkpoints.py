import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from selfflow.checkpoints import architecture_of, from_princeton, is_princeton, read_checkpoint
from selfflow.models import load_network
from selfflow.raft import RAFT
from selfflow.runs.errors import UserError


def princeton_name(name: str) -> str:
    """torchvision's name of a weight to princeton-vl's, written down independently."""
    name = name.replace("feature_encoder.", "fnet.").replace("context_encoder.", "cnet.")
    name = re.sub(r"net\.conv\.", "net.conv2.", name)
    name = re.sub(r"net\.convnormrelu\.0\.", "net.conv1.", name)
    name = re.sub(r"net\.convnormrelu\.1\.", "net.norm1.", name)
    name = re.sub(r"convnormrelu(\d)\.0\.", r"conv\1.", name)
    name = re.sub(r"convnormrelu(\d)\.1\.", r"norm\1.", name)
    name = re.sub(r"motion_encoder\.convcorr(\d)\.0\.", r"encoder.convc\1.", name)
    name = re.sub(r"motion_encoder\.convflow(\d)\.0\.", r"encoder.convf\1.", name)
    name = name.replace("motion_encoder.conv.0.", "encoder.conv.")
    name = name.replace("mask_predictor.convrelu.0.", "update_block.mask.0.")
    name = name.replace("mask_predictor.conv.", "update_block.mask.2.")
    return re.sub(r"recurrent_block\.convgru(\d)\.conv([zrq])\.", r"gru.conv\2\1.", name)


def princeton_state(network: RAFT) -> dict[str, Tensor]:
    """The weights as princeton-vl/RAFT writes them, from `DataParallel`."""
    state = {}
    for name, value in network.state_dict().items():
        old = princeton_name(name)
        if network.architecture == "raft-small":
            old = re.sub(r"gru\.conv([zrq])1\.", r"gru.conv\1.", old)
        state[f"module.{old}"] = value
        # The shortcut's norm is registered under two names.
        shortcut = re.sub(r"downsample\.1\.", "norm3.", old)
        if shortcut != old:
            state[f"module.{shortcut}"] = value
    return state


@pytest.mark.parametrize("architecture", ["raft-small", "raft-large"])
def test_princetons_weights_load_strictly_and_give_the_same_flow(
    architecture: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = RAFT(architecture).eval()
    path = tmp_path / "raft-things.pth"
    torch.save(princeton_state(network), path)
    loaded, metadata = load_network(path)
    assert metadata["architecture"] == architecture
    pair = torch.rand(2, 1, 3, 64, 72)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(*pair, 2), network(*pair, 2))


def test_the_fixtures_names_are_those_in_princetons_files() -> None:
    large, small = (set(princeton_state(RAFT(size))) for size in ("raft-large", "raft-small"))
    assert {
        "module.fnet.conv1.weight",
        "module.fnet.layer2.0.downsample.0.weight",
        "module.cnet.norm1.running_mean",
        "module.cnet.layer1.0.norm2.weight",
        "module.cnet.layer2.0.norm3.weight",
        "module.cnet.layer2.0.downsample.1.num_batches_tracked",
        "module.cnet.conv2.bias",
        "module.update_block.encoder.convc2.weight",
        "module.update_block.encoder.convf1.weight",
        "module.update_block.encoder.conv.bias",
        "module.update_block.gru.convz2.weight",
        "module.update_block.flow_head.conv2.weight",
        "module.update_block.mask.0.weight",
        "module.update_block.mask.2.bias",
    } <= large
    assert {
        "module.fnet.layer1.0.conv3.weight",
        "module.update_block.gru.convq.weight",
        "module.update_block.encoder.convc1.weight",
    } <= small
    assert not any("mask" in name or "norm" in name for name in small)


def test_a_bottlenecks_norm3_is_kept_and_its_norm4_left_out() -> None:
    value = torch.zeros(1)
    state = {
        "module.fnet.layer2.0.conv3.weight": value,
        "module.fnet.layer2.0.norm3.weight": value,
        "module.fnet.layer2.0.norm4.weight": value,
        "module.fnet.layer2.0.downsample.1.weight": value,
    }
    assert is_princeton(state)
    assert list(from_princeton(state)) == [
        "feature_encoder.layer2.0.convnormrelu3.0.weight",
        "feature_encoder.layer2.0.convnormrelu3.1.weight",
        "feature_encoder.layer2.0.downsample.1.weight",
    ]


@pytest.mark.parametrize("architecture", ["raft-small", "raft-large", "raft-large-instance"])
def test_the_architecture_is_told_from_the_names(architecture: str) -> None:
    assert architecture_of(RAFT(architecture).state_dict()) == architecture


def test_a_lightning_checkpoint_of_ptlflow_is_read(tmp_path: Path) -> None:
    network = RAFT("raft-small")
    state = {k.removeprefix("module."): v for k, v in princeton_state(network).items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt").keys() == network.state_dict().keys()


class Exploit:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"fnet.conv1.weight": Exploit()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 not a zip"])
def test_what_is_no_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.pth"):
        read_checkpoint(tmp_path / "broken.pth")


def test_a_file_without_weights_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match=r"list\.pth holds no weights"):
        read_checkpoint(tmp_path / "list.pth")
