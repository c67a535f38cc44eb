"""Running averages of networks that drop parts in training, as they would be without."""

import pytest
import torch
from torch import Tensor

from egodepth.networks.configurations import EquivalentConfig, Monodepth2Config, SmallDepthConfig
from egodepth.networks.drop import set_drop_rates
from egodepth.networks.equivalent import equivalent
from egodepth.networks.small_depth import SmallDepth
from egodepth.networks.statistics import drops, without_drops

SMALL = SmallDepthConfig(widths=(8, 8, 16, 16, 32), middles=(8, 16, 16, 32), ramp_share=None)


def images(seed: int, count: int = 8) -> Tensor:
    return torch.rand(count, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[False, True], ids=["plain", "equivalent"])
def trained(request) -> SmallDepth:
    """A network whose running averages were made under a drop rate of 0.9."""
    torch.manual_seed(0)
    network = SMALL.build()
    if request.param:
        equivalent(network, EquivalentConfig())
    network.train()
    set_drop_rates(network, 50, 100)
    with torch.no_grad():
        for seed in range(30):
            network(images(seed))
    return network


def test_the_copy_sees_in_evaluation_what_training_without_drops_sees(trained):
    batch = images(1)
    steady = without_drops(trained, [batch])
    undropped = without_drops(trained, [batch]).train()
    set_drop_rates(undropped, 0, 0)
    for module in undropped.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
        if hasattr(module, "branch_drop"):
            module.branch_drop.zero_(), module.element_drop.zero_()
    with torch.no_grad():
        expected = undropped.encoder(batch)[4]
        found, before = steady.eval().encoder(batch)[4], trained.eval().encoder(batch)[4]
    assert (found - expected).std() < 0.1 * expected.std()
    assert (before - expected).std() > 3 * (found - expected).std()


def test_the_network_and_the_generator_stay_as_they_are_and_the_copy_is_the_same_each_time(trained):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    rates = [module.rate for module in trained.modules() if hasattr(module, "rate")]
    state = torch.get_rng_state()
    first, second = (without_drops(trained, [images(1), images(2)]).state_dict() for _ in range(2))
    assert torch.get_rng_state().equal(state)
    assert all(tensor.equal(before[name]) for name, tensor in trained.state_dict().items())
    assert [module.rate for module in trained.modules() if hasattr(module, "rate")] == rates
    assert all(tensor.equal(second[name]) for name, tensor in first.items())
    changed = {name for name in before if not first[name].equal(before[name])}
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)


def test_only_networks_that_drop_something_need_it():
    assert drops(SMALL.build())
    assert not drops(SmallDepthConfig(pb_dsr=0, pb_sd=0).build())
    plain = Monodepth2Config(encoder="test_resnet").build()
    assert not drops(plain)
    assert drops(equivalent(plain, EquivalentConfig()))
