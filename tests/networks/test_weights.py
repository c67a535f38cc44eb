"""Files of weights, whatever the network was wrapped in when they were written."""

import pytest
import torch
from safetensors.torch import save_file

from egodepth.networks.weights import read_weights

STATE = {"encoder.conv.weight": torch.arange(4.0), "module_of_old.bias": torch.ones(2)}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "module.module."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_keys_of_a_wrapped_network_are_those_of_the_network(tmp_path, prefix, suffix):
    file = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pth" else save_file)({prefix + key: value for key, value in STATE.items()}, file)
    assert read_weights(file).tensors.keys() == STATE.keys()


def test_a_module_of_that_name_stays_where_it_is_not_all_there_is(tmp_path):
    state = {"module.weight": torch.ones(1), "head.weight": torch.ones(1)}
    torch.save(state, tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth").tensors.keys() == state.keys()


def test_a_part_that_was_compiled_within_a_network_is_found(tmp_path):
    torch.save({"encoder._orig_mod.weight": torch.ones(1), "head.weight": torch.ones(1)}, tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth").tensors.keys() == {"encoder.weight", "head.weight"}
