"""Where the cameras that nobody gave start: what COLMAP left in the run, and what small or still footage gets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from egodepth.data.configurations import LEARNED
from egodepth.data.opening import open_training_sets
from egodepth.data.samples import LearningCamera
from egodepth.errors import UserError
from egodepth.recipes import Recipe
from egodepth.recipes.table import recipe_named
from egodepth.training import cameras
from egodepth.training.cameras import started_cameras
from tests.data.trees import write_frames

INSISTING = replace(recipe_named("video"), intrinsics=LEARNED)
CONTENT = replace(INSISTING, learned_camera=replace(INSISTING.learned_camera, insist=False))


def started(folder: Path, recipe: Recipe, run: Path) -> LearningCamera:
    sets = open_training_sets(folder, recipe.data, LEARNED, recipe.views, 96, 160, run / "frames")
    [camera] = started_cameras(sets, recipe, move=True, folder=run / "cameras")
    return camera


def test_what_was_found_for_the_run_is_taken(tmp_path):
    """As by each process of a training, and by one that is resumed before its first checkpoint."""
    folder, run = write_frames(tmp_path / "drive", range(8), (180, 320)), tmp_path / "run"
    (run / "cameras").mkdir(parents=True)
    entries = {"fx": 200, "fy": 200, "cx": 160, "cy": 90, "width": 320, "height": 180}
    (run / "cameras" / "320x180.json").write_text(json.dumps(entries))
    camera = started(folder, INSISTING, run)
    assert float(camera.start[0, 0]) == pytest.approx(200 / 320)
    assert float(camera.start[1, 1]) == pytest.approx(200 / 180)
    assert camera.moves
    assert not camera.assumed


@pytest.mark.parametrize("size", [(180, 320), (360, 640)], ids=["small", "large"])
def test_footage_that_does_not_tell_is_refused_or_taken_to_be_usual(size, tmp_path):
    folder = write_frames(tmp_path / "drive", range(8), size)
    with pytest.raises(UserError, match="Give --fov or --intrinsics"):
        started(folder, INSISTING, tmp_path / "a")
    camera = started(folder, CONTENT, tmp_path / "b")
    assert float(camera.start[0, 0]) == pytest.approx(0.5 / 3**-0.5)
    assert camera.assumed
    assert not camera.moves
    assert not (tmp_path / "b" / "cameras").exists()


def test_pictures_too_small_for_it_are_not_given_to_colmap(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(cameras, "calibrate_footage", tried.append)
    started(write_frames(tmp_path / "drive", range(8), (180, 320)), CONTENT, tmp_path / "run")
    assert tried == []
