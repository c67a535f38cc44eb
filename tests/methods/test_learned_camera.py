"""Intrinsics that are learnt beside depth and motion."""

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.samples import LearningCamera
from egodepth.data.transforms import augment
from egodepth.geometry.cameras import Camera, pinhole
from egodepth.geometry.depth import sigmoid_to_disparity
from egodepth.geometry.poses import pose_to_transform
from egodepth.methods.configurations import LearnedCameraConfig, PhotometricConfig
from egodepth.methods.learned_camera import LearnedCameras
from egodepth.methods.photometric import photometric_loss
from egodepth.recipes import RECIPES
from egodepth.training.checkpoints import LAST_CHECKPOINT
from tests.command_line import TINY_MANYDEPTH, run
from tests.data.trees import write_frames, write_turning_frames
from tests.methods.batches import random_batch
from tests.signals import AT_ONCE, signalled
from tests.view_synthesis import back_project

TINY = "mobilenetv3_small_050"
SIZE = 64, 96
START = torch.tensor([[0.87, 0, 0.5], [0, 1.31, 0.5], [0, 0, 1.0]])


def one_camera(start=START):
    return LearnedCameras([LearningCamera("96x64", ("drive",), start)], LearnedCameraConfig())


def of_one_camera(batch):
    return replace(batch, learned_cameras=("96x64",) * len(batch))


# --- a scene whose depth and motion are known --------------------------------------------------------------------


def colours_of(points):
    """The colours (B, 3, H, W) of points in space: smooth waves, so that every shift has its price."""
    x, y, z = points.unbind(1)
    waves = [torch.sin(2.1 * x + 0.7 * z) + torch.cos(2.3 * y), torch.sin(1.7 * y - x), torch.cos(1.3 * x + y - z)]
    return 0.5 + 0.2 * torch.stack(waves, dim=1)


def seen(intrinsics, transform):
    """The picture and the depth of a slanted wall, z = 6 + 0.3 x - 0.2 y in the target's camera, from another pose."""
    rays = back_project(torch.ones(1, 1, *SIZE), intrinsics)
    # In the target's camera: points = R^T (depth ray - t).
    back = transform[:, :3, :3].transpose(1, 2)
    directions = (back @ rays.flatten(2)).view_as(rays)
    origin = -(back @ transform[:, :3, 3:])[..., None]
    normal = torch.tensor([-0.3, 0.2, 1.0])[None, :, None, None]
    depth = (6 - (normal * origin).sum(1, keepdim=True)) / (normal * directions).sum(1, keepdim=True)
    return colours_of(origin + depth * directions), depth


@pytest.mark.parametrize("turn", [0.15, -0.2])
@pytest.mark.parametrize("true_fov", [50, 75])
def test_with_true_depth_and_motion_the_principal_point_is_found_to_a_pixel(true_fov, turn):
    height, width = SIZE
    focal_px = width / 2 / math.tan(math.radians(true_fov) / 2)
    true = torch.from_numpy(pinhole(focal_px, focal_px, 53.0, 28.0))[None]
    rotation, shift = torch.tensor([[0.02, turn, 0.0]]), torch.tensor([[0.3, 0.0, -0.2]])
    forth, back = pose_to_transform(rotation, shift), pose_to_transform(-rotation, -shift)
    target, depth = seen(true, torch.eye(4)[None])
    sources = torch.stack([seen(true, transform)[0] for transform in (forth, back)])
    disparity = (1 / depth - 0.01) / 9.99
    torch.testing.assert_close(1 / sigmoid_to_disparity(disparity), depth)

    camera = one_camera(torch.tensor([[focal_px / width, 0, 0.5], [0, focal_px / height, 0.5], [0, 0, 1]]))
    optimiser = torch.optim.Adam(camera.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 150)
    for _ in range(150):
        intrinsics = Camera.from_normalised(camera(), height, width).intrinsics
        config = PhotometricConfig(ssim_weight=0, smoothness_weight=0, auto_mask=False)
        loss = photometric_loss(target, sources, [disparity], torch.stack([forth, back]), intrinsics, config)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        schedule.step()
    found = Camera.from_normalised(camera().detach()[0], height, width).intrinsics
    assert found[:2, 2].tolist() == pytest.approx([53, 28], abs=1)
    assert found.diagonal()[:2].tolist() == pytest.approx([focal_px] * 2, rel=1e-5)


@pytest.fixture(scope="module")
def street(drive):
    """Frames, depths (0 is made far) and poses of a simulated drive, whose camera has fx = fy = 0.58 of 192 pixels."""
    home = min((drive / "2011_09_26").glob("*_sync"))

    def pictures(folder):
        return torch.stack([torch.tensor(np.array(Image.open(file))) for file in sorted((home / folder).glob("*.png"))])

    poses = torch.eye(4).repeat(len(list((home / "image_02" / "data").glob("*.png"))), 1, 1)
    poses[:, :3] = torch.from_numpy(np.loadtxt(home / "poses.txt").reshape(-1, 3, 4)).float()
    depth = pictures("proj_depth/groundtruth/image_02").float()[:, None] / 256
    frames = pictures("image_02/data").permute(0, 3, 1, 2).float() / 255
    return frames, torch.where(depth > 0, depth, 255.0), poses


@pytest.mark.parametrize("width", [192, 96])
def test_on_a_simulated_drive_the_camera_moves_to_the_true_one(street, width):
    """The middle of the pictures sees 81 or 47 degrees; the drive bends by a fifth of a degree from frame to frame."""
    left, height = (192 - width) // 2, 64
    frames, depth, poses = street
    frames, depth = frames[..., left : left + width], depth[..., left : left + width]
    places = torch.arange(1, len(frames) - 1)
    neighbours = (places - 1, places + 1)
    transforms = torch.stack([poses[others].inverse() @ poses[places] for others in neighbours])
    sources = torch.stack([frames[others] for others in neighbours])
    disparity = (1 / depth[places] - 1 / 300) / (10 - 1 / 300)
    true_px = 0.58 * 192
    camera = one_camera(torch.tensor([[true_px / width, 0, 0.47], [0, true_px / height, 0.53], [0, 0, 1]]))
    optimiser = torch.optim.Adam(camera.parameters(), lr=0.06)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 25)
    config = PhotometricConfig(smoothness_weight=0, auto_mask=False)
    for _ in range(25):
        intrinsics = Camera.from_normalised(camera()[0], height, width).intrinsics.expand(len(places), 3, 3)
        inputs = frames[places], sources, [disparity], transforms, intrinsics, config, (0.1, 300.0)
        optimiser.zero_grad()
        photometric_loss(*inputs).total.backward()
        optimiser.step()
        schedule.step()
    found = Camera.from_normalised(camera().detach()[0], height, width).intrinsics
    assert found[:2, 2].tolist() == pytest.approx([0.491 * 192 - left, 0.46 * height], abs=1)


# --- a step ------------------------------------------------------------------------------------------------------


def method_of(name="monodepth2", **changes):
    recipe = RECIPES[name]
    parts = ("network", "pose") if name == "monodepth2" else ()
    tiny = {part: replace(getattr(recipe, part), encoder=TINY) for part in parts}
    recipe = replace(recipe, height=SIZE[0], width=SIZE[1], intrinsics="learned", **tiny, **changes)
    torch.manual_seed(0)
    method = recipe.build_method(recipe.build_networks())
    method.learn_cameras([LearningCamera("96x64", ("drive",), START)], LearnedCameraConfig())
    method.wants_panels = lambda: False
    method.log_training = lambda *_, **__: None
    return method


@pytest.fixture
def at_step(monkeypatch):
    """Puts a method at a step of a run of 8."""

    def put(method, step):
        trainer = SimpleNamespace(max_steps=8, strategy=SimpleNamespace(reduce=lambda value, **_: value))
        monkeypatch.setattr(type(method), "trainer", trainer, raising=False)
        monkeypatch.setattr(type(method), "global_step", step, raising=False)
        return method

    return put


def gradients_of_a_step(method, batch):
    """What the parts of a step want of the camera, as `training_step` adds them up."""
    for part in method._parts(batch):
        part.backward()
    return [parameter.grad for parameter in method.cameras.parameters()]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("monodepth2", {}),
        ("monodepth2", {"loss": "bidirectional"}),
        ("monodepth2", {"pyramid": True}),
    ],
)
def test_every_part_of_a_loss_moves_the_camera(name, changes, at_step):
    method = at_step(method_of(name, **changes), 0)
    size = (96, 128) if changes.get("pyramid") else SIZE
    gradients = gradients_of_a_step(method, of_one_camera(random_batch(size, (-1, 1))))
    assert all(gradient is not None and gradient.abs().min() > 0 for gradient in gradients)
    assert not list(method.cameras.wishes()), "the next step starts anew"


def test_level_by_level_the_camera_gets_the_gradient_of_the_sum(at_step):
    batch = of_one_camera(random_batch((96, 128), (-1, 1)))
    calm = AugmentationConfig(jitter_probability=0, flip_probability=0.5)
    found = []
    for sequential in (True, False):
        pyramid = replace(RECIPES["monodepth2"].pyramid_loss, sequential=sequential)
        changes = {"pyramid": True, "pyramid_loss": pyramid, "augmentation": calm}
        changes["photometric"] = PhotometricConfig(tie_break=0)
        found.append(gradients_of_a_step(at_step(method_of(**changes).eval(), 0), batch))
    for sequential, summed in zip(*found, strict=True):
        torch.testing.assert_close(sequential, summed, rtol=1e-3, atol=1e-6)


def test_at_the_end_the_camera_is_frozen(at_step):
    method = at_step(method_of(), 6)
    assert all(gradient is None for gradient in gradients_of_a_step(method, of_one_camera(random_batch(SIZE, (-1, 1)))))
    rate = method._camera_group().factor
    assert [rate(step, 8) > 0 for step in range(8)] == [True] * 6 + [False] * 2


def test_a_weight_decay_does_not_pull_the_camera_back(at_step):
    groups = at_step(method_of("small-depth"), 0).configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [1e-2, 0]
    assert len(groups[1]["params"]) == 1
    assert not {id(x) for x in groups[0]["params"]} & {id(x) for x in groups[1]["params"]}


def test_a_mirrored_sample_has_the_mirrored_principal_point_and_pulls_it_back():
    batch = of_one_camera(random_batch(SIZE, (-1, 1), count=1))
    camera = one_camera()
    with torch.no_grad():
        camera.centre_shift += torch.tensor([[0.4, 0.2]])
    flips = [AugmentationConfig(jitter_probability=0, flip_probability=p) for p in (0, 1)]
    as_it_is, mirrored = (augment(camera.given_to(batch), flip, 0, 0).intrinsics for flip in flips)
    assert float((as_it_is + mirrored)[0, 0, 2].detach()) == pytest.approx(SIZE[1] - 1, abs=1e-4)
    assert float((as_it_is - mirrored)[0, 1, 2].detach()) == pytest.approx(0, abs=1e-4)
    (wish,) = torch.autograd.grad(as_it_is[0, 0, 2], camera.centre_shift)
    (other,) = torch.autograd.grad(mirrored[0, 0, 2], camera.centre_shift)
    torch.testing.assert_close(wish, -other)


def test_each_sample_moves_its_own_camera_and_a_given_one_stays(at_step):
    method = at_step(method_of(), 0)
    both = [LearningCamera(name, (name,), START) for name in ("a.mp4", "b.mp4")]
    method.learn_cameras(both, LearnedCameraConfig())
    batch = replace(random_batch(SIZE, (-1, 1), count=3), learned_cameras=("b.mp4", None, "b.mp4"))
    assert torch.equal(method.cameras.given_to(batch).intrinsics[1], batch.intrinsics[1])
    assert torch.equal(method.cameras.given_to(batch).intrinsics[0], START)
    [centre] = gradients_of_a_step(method, batch)
    assert centre[0].abs().max() == 0 < centre[1].abs().min()
    given = replace(batch, learned_cameras=None)
    assert all(gradient.abs().max() == 0 for gradient in gradients_of_a_step(at_step(method_of(), 0), given))


def test_a_camera_that_the_footage_does_not_determine_stays(at_step):
    method = at_step(method_of(), 0)
    method.learn_cameras([LearningCamera("96x64", ("drive",), START, moves=False)], LearnedCameraConfig())
    [centre] = gradients_of_a_step(method, of_one_camera(random_batch(SIZE, (-1, 1))))
    assert centre.abs().max() == 0


# --- whole runs --------------------------------------------------------------------------------------------------


FAST = ("--height", "64", "--width", "96", "--batch-size", "2", "--pretrained", "none", "--workers", "0",
        "--log-every", "1", "--network.encoder", TINY, "--pose.encoder", TINY, "--intrinsics", "learned")  # fmt: skip


def test_a_run_that_goes_on_finds_the_camera_of_one_that_was_not_stopped(tmp_path):
    frames = write_turning_frames(tmp_path / "drive", 14, (64, 96))
    whole = tmp_path / "whole"

    def train(out, *more):
        arguments = ("train", "monodepth2", str(frames), "--out", str(out), *FAST, "--steps", "6")
        return run(*arguments, "--checkpoint-every", "2", *more)

    assert train(whole) == 0
    state = torch.load(whole / LAST_CHECKPOINT, weights_only=True)
    assert {"cameras.centre_shift", "cameras.start"} <= state["state_dict"].keys()

    with signalled(4, *AT_ONCE):
        assert train(tmp_path / "ended") == 130
    assert torch.load(tmp_path / "ended" / LAST_CHECKPOINT, weights_only=True)["global_step"] == 2
    assert train(tmp_path / "ended", "--resume") == 0
    configs = [json.loads((out / "model" / "config.json").read_text()) for out in (whole, tmp_path / "ended")]
    assert configs[0]["intrinsics"] == configs[1]["intrinsics"]
    assert configs[0]["intrinsics_from"] == "learned"
    centre = [float(row["camera_cx"]) for file in sorted(whole.glob("logs/*/metrics.csv"))
              for row in csv.DictReader(file.open()) if row.get("camera_cx")]  # fmt: skip
    assert len(set(centre)) > 2, "it is logged as it is learnt"
    assert configs[0]["intrinsics"][0][2] == pytest.approx(centre[-1])
    assert centre[-1] == centre[-2], "frozen at the end"


def test_a_network_that_matches_frames_is_released_with_the_camera_that_was_learnt(tmp_path):
    frames = write_turning_frames(tmp_path / "drive", 14, (64, 96))
    options = [word for word in FAST if word not in ("--network.encoder", "--pose.encoder", TINY)]
    options += [*TINY_MANYDEPTH, "--steps", "3"]
    assert run("train", "manydepth", str(frames), "--out", str(tmp_path / "run"), *options) == 0
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["intrinsics"][0][0] == pytest.approx(0.5 / math.tan(math.radians(35)), rel=0.15)  # of tiny pictures
    assert config["intrinsics"][0][2] not in (0, 0.5)


def test_footage_that_tells_no_focal_length_is_refused_or_taken_for_sixty_degrees(tmp_path, capsys):
    frames = write_frames(tmp_path / "drive", range(14), (64, 96))
    arguments = ["train", "monodepth2", str(frames), "--out", str(tmp_path / "run"), *FAST, "--steps", "2"]
    assert run(*arguments) == 2
    assert "does not tell its focal length. Give --fov" in capsys.readouterr().err
    assert run(*arguments, "--learned-camera.no-insist") == 0
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["intrinsics"][0] == pytest.approx([0.5 / math.tan(math.radians(30)), 0, 0.5])


@pytest.mark.parametrize(
    ("name", "said"),
    [("sdfa-net", "cannot learn them"), ("rprdepth", "cannot learn them"), ("monodepth2", "comes with the data")],
)
def test_what_cannot_learn_a_camera_says_so(drive, tmp_path, capsys, name, said):
    assert run("train", name, str(drive), "--out", str(tmp_path / "run"), "--intrinsics", "learned") == 2
    assert said in capsys.readouterr().err
