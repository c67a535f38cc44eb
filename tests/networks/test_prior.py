from pathlib import Path

import pytest
import torch
from torch import nn

from egodepth.errors import UserError
from egodepth.networks.attention import attend
from egodepth.networks.prior import ReferenceSet, clustered, network_hash


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def references(count: int = 40) -> ReferenceSet:
    features = (5 + 3 * noise(count, 6)).half()
    return ReferenceSet.of(features, (10 + noise(count, seed=1)).half(), {"teacher": "abc", "seed": 3})


def test_a_set_is_read_as_it_was_written(tmp_path: Path):
    written = references().kept(torch.tensor([3, 1, 7]), torch.arange(40.0), kept=3)
    written.save(tmp_path / "prior.safetensors")
    read = ReferenceSet.load(tmp_path / "prior.safetensors")
    for name in ("features", "depths", "counts", "mean", "deviation", "scores"):
        assert torch.equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert read.provenance == {"teacher": "abc", "seed": 3, "kept": 3}
    assert read.scores.tolist() == [3, 1, 7]


def test_each_channel_is_normalised_by_the_statistics_of_the_whole_set():
    whole = references(500)
    normalised = whole.normalised()
    torch.testing.assert_close(normalised.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    places = torch.tensor([400, 2])
    assert torch.equal(whole.kept(places).normalised(), normalised[places])


def test_a_channel_without_variation_stays_finite():
    flat = ReferenceSet.of(torch.full((9, 2), 4.0), torch.ones(9), {})
    assert torch.equal(flat.normalised(), torch.zeros(9, 2))


def test_a_set_of_another_teacher_is_refused():
    references().check_teacher("abc")
    with pytest.raises(UserError, match="built with the teacher abc, this one is xyz"):
        references().check_teacher("xyz")


def test_broken_and_foreign_files_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    with pytest.raises(UserError, match="no such file"):
        ReferenceSet.load(tmp_path / "none.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="is no reference set"):
        ReferenceSet.load(tmp_path / "model.safetensors")
    references().save(tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        ReferenceSet.load(tmp_path / "cut.safetensors")


def test_the_hash_sees_every_weight_and_nothing_else():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    first = network_hash([network])
    assert network_hash([network.eval().requires_grad_(False)]) == first
    with torch.no_grad():
        network[1].running_var[2] += 1e-6
    assert network_hash([network]) != first


def test_clusters_stand_for_their_members():
    centres, cluster = 20 * noise(4, 6), torch.arange(40) % 4
    whole = ReferenceSet.of(centres[cluster] + 0.01 * noise(40, 6, seed=1), 1.0 + cluster, {})
    # A good start is a matter of chance; of five seeds one finds all four.
    found = min((clustered(whole, 4, seed) for seed in range(5)), key=lambda few: few.counts.std())
    assert found.counts.tolist() == [10, 10, 10, 10]
    order = found.depths.argsort()
    assert found.depths[order].tolist() == [1, 2, 3, 4]
    torch.testing.assert_close(found.features[order], centres, atol=0.02, rtol=0)


def test_as_many_clusters_as_references_are_the_references():
    whole = ReferenceSet.of(noise(12, 6), noise(12, seed=1), {})
    found = clustered(whole, 12)
    torch.testing.assert_close(found.depths.sort().values, whole.depths.sort().values)
    assert found.counts.tolist() == [1] * 12


def test_attention_to_clusters_is_close_to_attention_to_all():
    features = noise(600, 4)
    whole = ReferenceSet.of(features, features[:, 0] + 0.3 * noise(600, seed=1), {})
    queries = noise(1, 30, 4, seed=2)

    def hint(references: ReferenceSet, counts: torch.Tensor) -> torch.Tensor:
        values = references.depths[None, :, None].float()
        return attend(queries, references.normalised()[None], values, 1.0, "naive", counts.log())

    few, exact = clustered(whole, 150), hint(whole, whole.counts)
    assert len(few) <= 150
    assert few.counts.sum() == 600
    error = (hint(few, few.counts) - exact).abs().mean()
    assert error < 0.1 * exact.std()
    assert error < 0.7 * (hint(few, torch.ones(len(few))) - exact).abs().mean()


def test_more_clusters_than_references_are_refused():
    with pytest.raises(UserError, match="50 of 40"):
        clustered(references(), 50)


def test_clusters_for_a_network_that_averages_inverse_depths_have_the_mean_of_those():
    whole = ReferenceSet.of(torch.zeros(2, 6), torch.tensor([1.0, 4.0]), {})
    assert clustered(whole, 1).depths.tolist() == [2.5]
    assert clustered(whole, 1, inverse=True).depths.tolist() == pytest.approx([1.6])
