"""The papers' claims: judged seed by seed, from experiments whose commands work, in regions that are what they say."""

import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks import claims, pictures
from benchmarks.claimed import Arm, Claim, Found, find, mean_and_spread, read_claims
from benchmarks.regions import lit_sides, moving, shadows, thin
from benchmarks.results_page import results_page
from egodepth.cli.main import command_function
from egodepth.cli.parsing import parse
from egodepth.errors import UserError
from egodepth.reproduction.measured import Evaluated, Measured

EXPERIMENTS, CLAIMS = read_claims()


# --- judging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("better", "than", "within", "verdict"),
    [
        ([0.20, 0.21, 0.22], [0.23, 0.22, 0.24], 0.0, "holds"),
        ([0.20, 0.23, 0.22], [0.23, 0.22, 0.24], 0.0, "not shown"),
        ([0.25, 0.23, 0.26], [0.23, 0.22, 0.24], 0.0, "does not hold"),
        ([0.23, 0.22], [0.23, 0.22], 0.0, "does not hold"),
        ([0.232, 0.22], [0.23, 0.22], 0.005, "holds"),
        ([0.24, 0.23], [0.23, 0.22], 0.005, "does not hold"),
        ([0.20], [0.23], 0.0, "not shown"),
        ([], [], 0.0, "not shown"),
    ],
)
def test_a_claim_holds_where_all_seeds_agree(better, than, within, verdict):
    claim = Claim("Paper", "it is better", "tiny", "new", "old", within=within)
    assert Found(claim, tuple(better), tuple(than)).verdict == verdict


def test_accuracies_are_better_when_they_are_higher():
    claim = Claim("Paper", "it is better", "tiny", "new", "old", figure="a1")
    assert Found(claim, (0.7, 0.8), (0.6, 0.7)).verdict == "holds"


def test_only_seeds_that_both_arms_have_are_compared():
    measured = [
        one("new", 0, 0.2),
        one("new", 1, 0.2),
        one("new", 2, 0.2),
        one("old", 2, 0.3),
        one("old", 0, 0.1),
        one("old", None, 0.1),
    ]
    found = find(Claim("Paper", "it is better", "tiny", "new", "old"), measured)
    assert (found.better, found.than) == ((0.2, 0.2), (0.1, 0.3))
    assert mean_and_spread(found.than) == "0.200 ± 0.141"


def test_the_table_of_claims_shows_both_sides_and_the_verdict():
    claim, experiment = CLAIMS[0], EXPERIMENTS[CLAIMS[0].experiment]
    measured = [one(arm, seed, 0.2, experiment.name) for arm in (claim.better, claim.than) for seed in (0, 1)]
    page = results_page("<!-- made from claims -->\n<!-- end -->", [], measured)
    [line] = [line for line in page.splitlines() if claim.words in line]
    assert f"{claim.better} 0.200 ± 0.000<br>{claim.than} 0.200 ± 0.000" in line
    assert experiment.setting in line
    assert sum("not shown" in line for line in page.splitlines()) >= len(CLAIMS) - 2  # of the others nothing is known
    arms = results_page(f"<!-- made from arms {experiment.name} -->\n<!-- end -->", [], measured)
    assert f"| {claim.better} | 2 | | 0.200 ± 0.000 |" in arms


def one(arm: str, seed: int | None, abs_rel: float, experiment: str = "tiny") -> Measured:
    result = Evaluated("simulated", "median", False, 9, {"abs_rel": abs_rel}, None)
    return Measured(f"{arm}-{seed}", arm, (result,), table=experiment, seed=seed)


# --- measuring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("model/config.json",), []),
        (("model/config.json", "checkpoints/last.ckpt"), [["train", "tiny", "--resume"]]),
        (("run.json",), [["train", "tiny"]]),
    ],
    ids=["ended", "stopped, which leaves a model too", "killed before its first checkpoint"],
)
def test_only_a_run_that_has_ended_is_measured(files, expected, tmp_path, monkeypatch):
    started = []

    def ended(words, run):
        started.append(list(words[3:]))
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(claims, "run_logged", ended)
    for file in files:
        (tmp_path / "run" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / file).touch()
    claims.train(["train", "tiny"], tmp_path / "run", keep=False)
    assert started == expected
    assert not (tmp_path / "run" / "checkpoints").exists()


# --- the experiments -------------------------------------------------------------------------------------------------


ARMS = [(experiment, arm) for experiment in EXPERIMENTS.values() for arm in experiment.arms.values() if arm.train]


@pytest.mark.parametrize(("experiment", "arm"), ARMS, ids=[f"{e.name}: {arm.name}" for e, arm in ARMS])
def test_what_an_arm_types_is_a_command(experiment, arm):
    recipe, *own = shlex.split(arm.train)
    words = [recipe, experiment.train_on, "--out", "RUN", *shlex.split(experiment.options), *own, "--seed", "1"]
    assert parse(command_function("train"), words, "egodepth train") is not None


def test_measurements_of_arms_have_names_of_their_own():
    names = [arm.file_name(e.name, seed) for e in EXPERIMENTS.values() for arm in e.arms.values() for seed in e.seeds]
    assert len(set(names)) == len(names)
    assert Arm("L_cr, no drops").file_name("small-depth", 2) == "small-depth-l-cr-no-drops-2"


def test_a_claim_about_an_arm_that_is_not_there_is_refused(tmp_path):
    file = tmp_path / "claims.toml"
    entry = '[experiment.tiny]\nsetting = ""\ndata = ""\ntrain_on = "D"\ntest_on = "D"\nprotocol = ""\noptions = ""\n'
    entry += 'seeds = [0]\n[experiment.tiny.arms]\n"new" = "monodepth2"\n'
    claim = '[[claim]]\npaper = "P"\nwords = "it is better"\nexperiment = "tiny"\nbetter = "new"\nthan = "old"\n'
    file.write_text(entry + claim)
    with pytest.raises(UserError, match="names what is no arm of tiny"):
        read_claims(file)


# --- regions ---------------------------------------------------------------------------------------------------------

HEIGHT, WIDTH, FOCAL, BASELINE_M = 12, 40, 20.0, 0.5
INTRINSICS = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
WALL_M, BOX_M = 20.0, 5.0


def wall_and_box(left: float, camera_z: float = 0.0, camera_x: float = 0.0, box_z: float = BOX_M) -> np.ndarray:
    """Depth (H, W) of a wall, and of a box 2 m wide before it whose left side is at `left` metres."""
    columns = (np.arange(WIDTH) - WIDTH / 2) / FOCAL
    depth = np.full((HEIGHT, WIDTH), WALL_M - camera_z)
    place = columns * (box_z - camera_z) + camera_x
    depth[3:9, (place >= left) & (place < left + 2)] = box_z - camera_z
    return depth


def moved_by(x: float, z: float) -> np.ndarray:
    """Takes points into a camera that has gone by x and z."""
    motion = np.eye(4)
    motion[[0, 2], 3] = -x, -z
    return motion


def test_a_shadow_is_as_wide_as_the_difference_of_disparities_and_on_the_left_of_a_box():
    depth = wall_and_box(-1.0)
    shadow = shadows(depth, FOCAL, BASELINE_M)
    box = depth == BOX_M
    width = FOCAL * BASELINE_M * (1 / BOX_M - 1 / WALL_M)
    rows = shadow[3:9].sum(axis=1)
    assert (np.abs(rows - width) <= 1).all()
    assert not shadow[box].any()
    assert not shadow[:3].any()
    first = int(np.flatnonzero(box[4])[0])
    assert shadow[4, first - 1]
    np.testing.assert_array_equal(np.flatnonzero(lit_sides(shadow)[4]), first + np.arange(rows[1]))


@given(st.floats(-0.4, 0.4), st.floats(-1.0, 1.0))
def test_nothing_that_stands_is_taken_to_have_moved(x, z):
    now, there = wall_and_box(-1.0), wall_and_box(-1.0, z, x)
    assert not moving(now, [(there, moved_by(x, z))], INTRINSICS).any()


def test_a_box_that_slides_has_moved_and_the_wall_behind_has_not():
    now, after = wall_and_box(-1.0), wall_and_box(1.5)
    moved = moving(now, [(after, np.eye(4))], INTRINSICS)
    box = now == BOX_M
    assert moved[box].mean() > 0.5
    assert not moved[~box].any()


def test_a_box_that_drives_ahead_at_the_cameras_speed_has_moved():
    """As it was a metre ago nothing tells; a metre later its place is empty."""
    now, after = wall_and_box(-1.0), wall_and_box(-1.0, 1.0, box_z=BOX_M + 1)
    moved = moving(now, [(after, moved_by(0.0, 1.0))], INTRINSICS)
    box = now == BOX_M
    assert moved[box].mean() > 0.3
    assert not moved[~box].any()


@given(st.integers(1, 8), st.floats(1.3, 8), st.booleans())
def test_what_is_narrow_and_stands_out_is_thin(width, times, sky):
    """A pole before a wall, or before the sky; of 100 columns two are narrow."""
    depth = np.full((HEIGHT, 100), 0.0 if sky else WALL_M)
    depth[:, 50 : 50 + width] = WALL_M / times
    found = thin(depth)
    assert found[:, 50 : 50 + width].all() if width < 3 else not found.any()
    assert not found[:, :50].any()


@pytest.mark.parametrize("regions", ["borders", "traffic", "thin", None])
def test_the_sheet_shows_each_model_beside_the_truth(regions, drive, tmp_path, capsys):
    picture = tmp_path / "sheet.png"
    pictures.main(pictures.Pictures(("starter=small", "starter"), drive, regions, frames=2, picture=picture))
    with Image.open(picture) as sheet:
        assert sheet.width == (2 + 2 * 2) * (192 + 4)
        assert sheet.height == 20 + 2 * (64 + 4)
        tiles = [np.asarray(sheet)[20:84, left : left + 192] for left in range(0, sheet.width, 196)]
    np.testing.assert_array_equal(tiles[2], tiles[4])
    np.testing.assert_array_equal(tiles[3], tiles[5])
    assert not np.array_equal(tiles[1], tiles[2])
    table = capsys.readouterr().out
    assert ("small" in table) is (regions is not None)
