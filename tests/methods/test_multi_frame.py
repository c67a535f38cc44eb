"""ManyDepth's training on video with pairs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from egodepth.data.transforms import without_augmentation
from egodepth.geometry.poses import stereo_transform
from egodepth.geometry.warping import epipolar_rays
from egodepth.methods.multi_frame import MultiFrameMethod
from egodepth.models.opening import load
from egodepth.recipes import RECIPES
from tests.command_line import SMALL, TINY_MANYDEPTH, only_line, run
from tests.golden.steps import golden_batch

SIZE = (64, 96)


@pytest.fixture(scope="module")
def method() -> MultiFrameMethod:
    torch.manual_seed(0)
    recipe = replace(RECIPES["manydepth"], mode="mono+stereo", height=SIZE[0], width=SIZE[1], metres_per_unit=2.7)
    return recipe.build_method(recipe.build_networks()).eval()


def test_the_views_of_mono_and_stereo_are_video_and_the_other_camera():
    recipe = RECIPES["manydepth"]
    assert recipe.views == (-1, 1)
    assert replace(recipe, mode="mono+stereo").views == (-1, 1, "stereo")
    assert replace(recipe, mode="mono+stereo", losses=replace(recipe.losses, lookups=(-2, -1))).views[-1] == "stereo"


@torch.no_grad()
def test_the_other_camera_is_explained_by_its_baseline_in_units_of_depth(method):
    views = without_augmentation(golden_batch(SIZE, (-1, 1, "stereo")))
    scene = method.scene(views)
    assert scene.sources.shape == (3, 2, 3, *SIZE)
    assert torch.equal(scene.sources[2], views.sources[:, 2])
    known = stereo_transform(views.stereo_offset * views.baseline_m / 2.7)
    wanted = epipolar_rays(views.intrinsics, known[None], *SIZE)
    torch.testing.assert_close(scene.rays.offset[2], wanted.offset[0])
    torch.testing.assert_close(scene.rays.direction[2], wanted.direction[0])


@torch.no_grad()
def test_video_with_pairs_is_explained_as_video_alone_where_pairs_explain_nothing(method):
    batch = golden_batch(SIZE, (-1, 1, "stereo"))
    black = replace(batch, sources=torch.cat([batch.sources[:, :2], 0 * batch.sources[:, 2:]], 1))
    alone = replace(batch, sources=batch.sources[:, :2], source_ids=(-1, 1))
    losses, different = [], method.scene(without_augmentation(batch))
    for each in (black, alone):
        torch.manual_seed(1)
        views = without_augmentation(each)
        losses.append(method.teacher_loss(method.teacher_network(views.target), method.scene(views)).item())
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    torch.manual_seed(1)
    target = without_augmentation(batch).target
    assert method.teacher_loss(method.teacher_network(target), different).item() != pytest.approx(losses[1], rel=1e-4)


@torch.no_grad()
def test_matching_looks_at_frames_of_other_times_alone(method):
    batch = golden_batch(SIZE, (-1, 1, "stereo"))
    views = without_augmentation(batch)
    lookups = method.lookups(views)
    assert torch.equal(lookups.images, views.sources[:, :1])
    other = without_augmentation(replace(batch, sources=batch.sources.clone().index_fill_(1, torch.tensor([2]), 0)))
    assert torch.equal(method.lookups(other).transforms, lookups.transforms)


def test_a_model_of_video_and_pairs_is_in_metres(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train = ["train", "manydepth", drive, "--out", out, *SMALL, *TINY_MANYDEPTH]
    assert run(*train, "--mode", "mono+stereo") == 0
    config = json.loads((out / "model" / "config.json").read_text())
    assert (config["metres_per_unit"], config["metres_from"]) == (5.4, "stereo baseline")
    assert load(out).is_metric
    assert load(out).time_offsets == (-1,)


def test_metres_per_unit_is_refused_for_video_alone(drive: Path, tmp_path: Path, capsys) -> None:
    options = [*SMALL, *TINY_MANYDEPTH, "--metres-per-unit", "2"]
    assert run("train", "manydepth", drive, "--out", tmp_path / "run", *options) == 2
    assert "--mode mono+stereo" in only_line(capsys.readouterr().err)
