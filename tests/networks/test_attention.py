import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from egodepth.networks.attention import attend, best_references, effective_number, mean_weights
from tests.hashed_inputs import hashed_uniform

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "losses.json").read_text())
SIX_DIGITS = 5e-6
FORMS = pytest.mark.parametrize("form", ["naive", "chunked", "fused"])
SMALL_CHUNKS = (7, 11)


def affinity() -> tuple[Tensor, Tensor, Tensor]:
    """Queries (1, 240, 8), keys (1, 50, 8) and values [features, depths] (1, 50, 9) of the reference."""
    queries = hashed_uniform((2, 8, 6, 20), 10).flatten(2).transpose(1, 2).reshape(1, 240, 8)
    features = hashed_uniform((50, 8), 11)
    depths = 1 + 9 * hashed_uniform((50, 1), 12)
    return queries, features[None], torch.cat([features, depths], dim=1)[None]


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def heads(scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    return noise(3, 40, 8, seed=1, scale=scale), noise(3, 60, 8, seed=2), noise(3, 60, 5, seed=3)


@FORMS
def test_the_affinity_gives_the_reference_values(form: str):
    expected = REFERENCE["affinity"]
    mixed = attend(*affinity(), form=form, chunks=SMALL_CHUNKS)[0]
    feature, depth = mixed[:, :8], mixed[:, 8]
    assert depth.mean().item() == pytest.approx(expected["depth"]["mean"], rel=SIX_DIGITS)
    assert depth[0].item() == pytest.approx(expected["depth"]["first"], rel=SIX_DIGITS)
    assert feature.mean().item() == pytest.approx(expected["feature"]["mean"], rel=SIX_DIGITS)
    assert feature[0, 0].item() == pytest.approx(expected["feature"]["first"], rel=SIX_DIGITS)
    scaled = attend(*affinity(), scale=8**-0.5, form=form)[0, :, 8]
    assert scaled.mean().item() == pytest.approx(expected["depth"]["mean_when_scaled_by_root_of_channels"], rel=1e-5)


@FORMS
def test_two_heads_give_the_reference_values(form: str):
    shapes = zip(((1, 6, 8), (1, 10, 8), (1, 10, 8)), (40, 41, 42), strict=True)
    parts = [hashed_uniform(shape, seed)[0].unflatten(1, (2, 4)).transpose(0, 1) for shape, seed in shapes]
    mixed = attend(*parts, scale=0.5, form=form)
    assert mixed.mean().item() == pytest.approx(REFERENCE["attention"]["mean"], rel=SIX_DIGITS)
    assert mixed[0, 0, 0].item() == pytest.approx(REFERENCE["attention"]["first"], rel=SIX_DIGITS)


@pytest.mark.parametrize("chunks", [(4096, 8192), SMALL_CHUNKS, (1, 1), (40, 13)])
@pytest.mark.parametrize("scale", [1.0, 10.0], ids=["flat", "peaked"])
def test_chunked_and_fused_attention_agree_with_the_naive_one(chunks: tuple[int, int], scale: float):
    parts, log_counts = heads(scale), noise(60, seed=4).abs()
    for bias in (None, log_counts):
        naive = attend(*parts, 0.7, "naive", bias)
        assert (attend(*parts, 0.7, "chunked", bias, chunks) - naive).abs().max() < 1e-5
        assert (attend(*parts, 0.7, "fused", bias) - naive).abs().max() < 1e-5


@pytest.mark.parametrize("form", ["chunked", "fused"])
def test_their_gradients_agree_too(form: str):
    gradients = []
    for chosen in ("naive", form):
        parts = [part.clone().requires_grad_() for part in heads()]
        attend(*parts, 0.7, chosen, chunks=SMALL_CHUNKS).square().sum().backward()
        gradients.append([part.grad for part in parts])
    for naive, found in zip(*gradients, strict=True):
        assert (naive - found).abs().max() < 1e-5 * naive.abs().max()


def test_half_precision_agrees_to_three_digits():
    parts = [part.half() for part in heads()]
    exact = attend(*heads(), 0.7, "naive")
    for form in ("chunked", "fused"):
        assert (attend(*parts, 0.7, form, chunks=SMALL_CHUNKS).float() - exact).abs().max() < 2e-3


def test_chunks_hold_no_more_weights_than_they_say():
    """Saved for the backward pass, the weights of all chunks would be the matrix that is never to exist."""
    saved = []
    queries, keys, values = (part.requires_grad_() for part in heads())
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        attend(queries, keys, values, form="chunked", chunks=(8, 16))
    assert max(saved) <= values.numel() + keys.numel()


def test_top_k_of_all_references_is_the_naive_attention():
    naive = attend(*heads(), 0.7, "naive")
    assert (attend(*heads(), 0.7, "top-k", top=60, chunks=SMALL_CHUNKS) - naive).abs().max() < 1e-5


def test_top_k_keeps_the_best_references_of_each_query():
    queries, keys, values = heads()
    only = attend(queries, keys, values, form="top-k", top=1)
    best = (queries @ keys.transpose(1, 2)).argmax(-1)
    assert torch.equal(only, torch.stack([value[place] for value, place in zip(values, best, strict=True)]))
    far = (attend(queries, keys, values, 3.0, "naive") - attend(queries, keys, values, 3.0, "top-k", top=12)).abs()
    assert 0 < far.mean() < 0.01


def test_a_count_is_as_good_as_that_many_equal_references():
    queries, keys, values = heads()
    counts = torch.tensor([1, 3, 2]).repeat(20)
    many = [x.repeat_interleave(counts, dim=1) for x in (keys, values)]
    expected = attend(queries, *many, 0.7, "naive")
    for form in ("naive", "chunked", "fused", "top-k"):
        found = attend(queries, keys, values, 0.7, form, counts.log(), SMALL_CHUNKS, top=60)
        assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("chunks", [(4096, 8192), SMALL_CHUNKS])
def test_mean_weights_give_the_reference_ranking(chunks: tuple[int, int]):
    queries, keys, _ = affinity()
    expected = REFERENCE["affinity"]["average"]
    weights = mean_weights(queries, keys, chunks=chunks)
    best = best_references(weights, 3)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    assert best.tolist() == expected["top_indices"]
    assert weights[best].tolist() == pytest.approx(expected["top_values"], rel=1e-5)


def test_mean_weights_are_the_columns_of_the_naive_matrix():
    queries, keys, _ = heads()
    matrix = (0.7 * queries @ keys.transpose(1, 2)).softmax(-1)
    found = mean_weights(queries, keys, 0.7, chunks=SMALL_CHUNKS)
    torch.testing.assert_close(found, matrix.mean((0, 1)).double(), rtol=1e-5, atol=1e-8)
    assert torch.equal(found, mean_weights(queries, keys, 0.7, chunks=SMALL_CHUNKS))


def test_equal_scores_go_by_their_place():
    assert best_references(torch.tensor([1.0, 3.0, 1.0, 3.0, 3.0, 0.0]), 5).tolist() == [1, 3, 4, 0, 2]
    assert best_references(torch.zeros(1000), 7).tolist() == list(range(7))


def test_the_effective_number_is_how_many_references_share_the_weight():
    queries, keys = torch.zeros(2, 3, 4), torch.randn(2, 10, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(effective_number(queries, keys), torch.tensor(10.0))
    torch.testing.assert_close(effective_number(keys, 1000 * keys / keys.norm(dim=-1)[:, :, None]), torch.tensor(1.0))
    counts = torch.tensor([3.0, 5.0])
    torch.testing.assert_close(effective_number(queries, keys[:, :2], log_counts=counts.log()), torch.tensor(8.0))
