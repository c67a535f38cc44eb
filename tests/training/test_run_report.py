"""The report of a run, for footage whose true depth nobody knows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from egodepth.costs import Cost, compared
from egodepth.data.configurations import DataConfig, TeacherMapsConfig
from egodepth.data.opening import open_training_sets
from egodepth.data.taught_dataset import taught_sets
from egodepth.data.teacher_maps import open_maps
from egodepth.recipes import RECIPES
from egodepth.training.judging import Judgement, gain, judge
from egodepth.training.run_report import better_explained, to_take
from egodepth.training.starting import first_focal, load_first_weights
from tests.command_line import run


@pytest.fixture(scope="module")
def held_out(drive, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return open_training_sets(drive, DataConfig(), "calibrated", (-1, 1), 64, 192, cache).validation


def method(start_from=None, height=64, width=192):
    torch.manual_seed(0)
    recipe = replace(RECIPES["video"], height=height, width=width, start_from=start_from)
    return recipe.build_method(recipe.build_networks())


def test_views_that_nothing_moves_explain_as_much_as_they_are(held_out):
    still = method()
    for parameter in still.pose_network.decoder[-1].parameters():
        torch.nn.init.zeros_(parameter)
    found = judge(still, held_out)
    assert found.synthesis == pytest.approx(found.identity, rel=1e-3)
    assert gain(found.synthesis, found.identity) == pytest.approx(0, abs=1e-3)
    assert found.identity > 0


def test_a_wrong_motion_explains_less_and_the_views_as_they_are_stay_as_they_are(held_out):
    still, wrong = method(), method()
    for parameter in still.pose_network.decoder[-1].parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(wrong.pose_network.decoder[-1].bias, 3.0)
    one, other = judge(still, held_out), judge(wrong, held_out)
    assert other.synthesis > one.synthesis
    assert gain(other.synthesis, other.identity) < 0


def test_depth_at_an_end_of_the_range_is_counted_there(held_out):
    for bias, near, far in ((20.0, 1, 0), (-20.0, 0, 1)):
        flat = method()
        for module in flat.depth_network.modules():
            if hasattr(module, "heads"):
                for name, parameter in module.heads.named_parameters():
                    torch.nn.init.constant_(parameter, bias if name.endswith("bias") else 0.0)
        found = judge(flat, held_out)
        assert (found.near, found.far) == (near, far)
        assert found.flicker == pytest.approx(0, abs=1e-5)
        assert {each.picture.shape for each in found.shown} == {(64, 192, 3)}
        assert {each.depth.shape for each in found.shown} == {(64, 192)}


@pytest.mark.parametrize(
    ("weights", "maps", "better"),
    [("none", "exact", "teacher"), ("starter", "flat", "student"), ("starter", "own", "either")],
)
def test_the_better_of_student_and_teacher_is_told_apart(drive, tmp_path, weights, maps, better):
    """By pairs, whose motion is known: a street's exact depth, a wall three metres away, the student's own depth."""
    recipe = replace(
        RECIPES["video"],
        height=64,
        width=192,
        mode="stereo",
        start_from=weights,
        teacher_depth="maps",
        teacher_maps=TeacherMapsConfig("depth", "scale" if maps == "own" else "metres"),
    )
    held = open_training_sets(drive, DataConfig(), "calibrated", ("stereo",), 64, 192, tmp_path).validation
    networks = recipe.build_networks()
    load_first_weights(recipe, networks)
    student = recipe.build_method(networks)
    student.focal = 0.58 if weights == "none" else first_focal(recipe)
    if maps == "exact":
        opened = open_maps("exact", drive, recipe.teacher_maps)
    else:
        for name, sample in zip(held.sample_names(), (held[place] for place in range(len(held))), strict=True):
            folder, number, side = name.split()
            file = tmp_path / "maps" / folder / {"l": "image_02", "r": "image_03"}[side] / f"{int(number):010d}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            with torch.no_grad():
                own = student.depth_network.eval().predict_depth(sample.target[None].float() / 255)[0, 0].numpy()
            np.save(file, np.full((64, 192), 3.0, np.float32) if maps == "flat" else own)
        opened = open_maps(str(tmp_path / "maps"), drive, recipe.teacher_maps)
    found = judge(student, taught_sets(held, None, opened)[0])
    assert better_explained(found) == better
    assert all(each.teacher is not None for each in found.shown)


def judged(ours, teachers):
    return Judgement(0.1, 0.2, (ours, teachers), 0.01, 0, 0, ())


@pytest.mark.parametrize(
    ("ours", "teachers", "costs", "take"),
    [
        (0.10, 0.12, (Cost("cpu", 9, 0.5), Cost("cpu", 90, 0.1)), "student"),
        (0.12, 0.10, (Cost("cpu", 9, 0.1), Cost("cpu", 90, 0.5)), "teacher"),
        (0.10, 0.1001, (Cost("cpu", 9, 0.1), Cost("cpu", 90, 0.5)), "student"),
        (0.10, 0.1001, (Cost("cpu", 9, 0.6), Cost("cpu", 90, 0.5)), "teacher"),
        # Seconds of two devices say nothing; weights do.
        (0.10, 0.1001, (Cost("cpu", 9, 0.6), Cost("cuda", 90, 0.5)), "student"),
        (0.10, 0.1001, (Cost("cpu", 9, 0.6), None), "student"),
    ],
)
def test_of_equals_the_cheaper_one_is_taken(ours, teachers, costs, take):
    assert to_take(judged(ours, teachers), costs) == take


def test_two_costs_are_compared_in_words():
    small, large = Cost("cpu", 9, 0.01, 50), Cost("cpu", 99, 0.4, 200)
    assert list(compared(small, large)) == ["40 times as fast", "11 times as small", "with 1/4.0 of the memory"]
    assert list(compared(large, small)) == ["40 times as slow", "11 times as large", "with 4.0 times the memory"]
    assert list(compared(small, replace(large, device="cuda"))) == ["11 times as small"]
    assert list(compared(small, small)) == []


def test_a_cost_survives_its_file_to_three_digits():
    assert Cost.from_json(Cost("cpu", 9.1234, 0.0123456).to_json()) == Cost("cpu", 9.12, 0.0123)


@pytest.mark.parametrize(
    ("error", "reference", "expected"), [(1, 2, 0.5), (2, 1, -0.5), (1, 1, 0), (0, 0, 0), (0, 1, 1), (1, 0, -1)]
)
def test_a_gain_is_a_share_whatever_the_errors_are(error, reference, expected):
    assert gain(error, reference) == expected


def test_a_judgement_leaves_the_networks_in_training(held_out):
    kept = method().train()
    before = {name: tensor.clone() for name, tensor in kept.state_dict().items()}
    judge(kept, held_out)
    assert kept.depth_network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in kept.state_dict().items())


def test_a_run_from_the_starter_is_held_against_it(drive, tmp_path):
    out = tmp_path / "<run> & more"
    options = "--height", 64, "--width", 192, "--steps", 1, "--batch-size", 2, "--workers", 0
    assert run("train", "video", drive, "--out", out, *options) == 0
    page = (out / "report.html").read_text()
    for words in ("as it started", "than starter", "up to scale", "given, 82 degrees wide", "Held out: "):
        assert words in page, words
    assert "<run>" not in page


def test_a_run_taught_by_maps_alone_is_judged_by_the_motions_of_flow(drive, tmp_path):
    """The student is the starter still; both are seen by the same motions, which the exact depth fits better."""
    out, options = tmp_path / "run", ("--steps", 1, "--batch-size", 2, "--workers", 0)
    maps = "--teacher-depth", "exact", "--taught.synthesis-weight", 0, "--taught.weight", 1
    assert run("train", "video", drive, "--out", out, *options, *maps, "--optimiser.learning-rate", "1e-6") == 0
    found = json.loads((out / "report.json").read_text())
    assert found["take"] == "teacher"
    assert found["trained"]["synthesis"] == pytest.approx(found["as it started"]["synthesis"], rel=0.01)
    assert found["trained"]["synthesis"] < found["trained"]["identity"]
