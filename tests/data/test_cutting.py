"""Frames read at their drawn scale, against whole native frames that Pillow mirrors, resizes and crops itself."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from egodepth.data.configurations import AugmentationConfig, DataConfig
from egodepth.data.cutting import Cutting, read_window
from egodepth.data.draws import Draw, Window, draw
from egodepth.data.images import cut_image, read_cut_image, resize_image
from egodepth.data.joint import JointDataset
from egodepth.data.loading import StepSampler, make_loader
from egodepth.data.opening import open_training_sets
from egodepth.data.samples import NativeDataset, Sample
from egodepth.data.transforms import augment, resize
from egodepth.geometry.cameras import Camera
from egodepth.recipes import RECIPES
from tests.data.trees import texture, write_cityscapes_pair, write_ddad

FRAME, CROP, SEED = (96, 320), (48, 160), 5
CONFIG = replace(RECIPES["sdfa-net"].augmentation, crop=CROP, jitter_probability=0.0)
CUTTING = Cutting(CONFIG, SEED, FRAME)
ROUNDING = 1
"""Grey levels: mirroring before or after the filter rounds apart."""


@pytest.fixture(scope="module")
def pairs(drive):
    return open_training_sets(drive, DataConfig(sides="left"), "calibrated", ("stereo",), *FRAME, drive / "c").training


def batches_of(dataset, start=0, stop=4, workers=0, cutting=CUTTING):
    sampler = StepSampler(len(dataset), 3, SEED, start, stop)
    return list(make_loader(dataset, sampler, workers, cutting=cutting))


def published_view(path, drawn):
    """One image in the published order: mirror, resize in one step, crop (specification, section 7)."""
    image = Image.open(path).convert("RGB")
    if drawn.flip:
        image = ImageOps.mirror(image)
    height, width = (int(side * drawn.scale) for side in FRAME)
    large = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).astype(float)
    top = int(drawn.place[0] * (height - CROP[0] + 1))
    left = int(drawn.place[1] * (width - CROP[1] + 1))
    return large[top : top + CROP[0], left : left + CROP[1]], (height, width, top, left)


def files_of(drive, name):
    folder, number, _ = name.split()
    files = [next((drive / folder).glob(f"image_0{camera}/data/{int(number):010d}.*")) for camera in (2, 3)]
    assert all(file.is_file() for file in files)
    return files


def picture(seed, height, width):
    """(H, W, 3) uint8, each channel another."""
    return np.stack([np.asarray(texture(seed + channel, height, width)) for channel in range(3)], axis=-1)


def grey_levels(view):
    return 255 * view.permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize("scale", [0.75, 0.9, 1.0, 1.3, 1.5])
def test_a_window_has_the_pixels_of_the_whole_frame_resized_and_cropped(scale, tmp_path):
    image = picture(3, 75, 240)
    Image.fromarray(image).save(tmp_path / "a.png")
    window = Window.drawn(Draw(False, (), scale, (0.7, 0.3)), FRAME, CROP)
    height, width = int(96 * scale), int(320 * scale)
    assert window.enlarged == (height, width)
    large = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)).astype(int)
    expected = large[window.top : window.top + 48, window.left : window.left + 160]
    found = read_cut_image(tmp_path / "a.png", window.shares(), *CROP)
    assert abs(found.astype(int) - expected).max() <= ROUNDING
    assert np.array_equal(found, cut_image(image, window.shares(), *CROP))


def test_training_sees_native_pairs_in_the_published_order_with_their_cameras(drive, pairs):
    whole = {name: pairs[index] for index, name in enumerate(pairs.sample_names())}
    flips, scales = set(), []
    for step, batch in enumerate(batches_of(pairs)):
        assert batch.size == CROP
        assert batch.frame_size == FRAME
        views = augment(batch, CONFIG, SEED, step)
        for row, index in enumerate(batch.indices.tolist()):
            drawn = draw(CONFIG, SEED, step, index)
            left_file, right_file = files_of(drive, batch.names[row])
            target, source = (right_file, left_file) if drawn.flip else (left_file, right_file)
            for path, seen in ((target, views.target), (source, views.sources[:, 0])):
                expected, (height, width, top, left) = published_view(path, drawn)
                assert abs(grey_levels(seen[row]) - expected).max() <= ROUNDING + 1e-3
            fx, fy, cx, cy = (float(whole[batch.names[row]].intrinsics[place]) for place in PLACES)
            cx = 1 - cx if drawn.flip else cx
            expected = [fx * width, fy * height, cx * width - 0.5 - left, cy * height - 0.5 - top]
            assert [float(views.intrinsics[row][place]) for place in PLACES] == pytest.approx(expected, abs=1e-3)
            flips.add(drawn.flip)
            scales.append(drawn.scale)
        assert views.stereo_offset.tolist() == [-1.0] * 3
        assert views.baseline_m.equal(batch.baseline_m)
    assert flips == {True, False}
    assert min(scales) < 1 < max(scales)


PLACES = ((0, 0), (1, 1), (0, 2), (1, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_started_late_reads_the_windows_of_the_first(pairs, workers):
    whole, late = batches_of(pairs, stop=7), batches_of(pairs, start=4, stop=7, workers=workers)
    for first, second in zip(whole[4:], late, strict=True):
        assert first.windows == second.windows
        assert first.target.equal(second.target)
        assert first.sources.equal(second.sources)


def test_a_sample_is_cut_anew_each_time_it_is_shown(pairs):
    windows = [CUTTING.read(pairs, 0, step).window for step in range(4)]
    assert all(one != other for one, other in pairwise(windows))
    assert windows[0] == CUTTING.read(pairs, 0, 0).window


def test_frames_cut_by_other_draws_are_refused(pairs):
    (batch,) = batches_of(pairs, stop=1)
    augment(batch, CONFIG, SEED, 0)
    for seed, step in ((SEED, 1), (SEED + 1, 0)):
        with pytest.raises(ValueError, match="other draws"):
            augment(batch, CONFIG, seed, step)


@pytest.mark.parametrize("name", ["sdfa-net-r18", "monodepth2", "small-depth"])
def test_the_loader_cuts_frames_for_recipes_that_scale_native_ones_alone(name):
    recipe = RECIPES[name]
    if name == "sdfa-net-r18":
        recipe = replace(recipe, losses=replace(recipe.losses, perceptual_weight=0.0))
    unscaled = replace(recipe, augmentation=replace(recipe.augmentation, min_scale=1.0, max_scale=1.0, crop=(64, 96)))
    methods = [each.build_method(each.build_networks()) for each in (recipe, unscaled)]
    scaled = name == "sdfa-net-r18"
    expected = Cutting(recipe.augmentation, recipe.training.seed, FRAME) if scaled else None
    assert [method.cutting(FRAME) for method in methods] == [expected, None]


def test_frames_are_read_whole_where_nothing_is_cut(pairs):
    (batch,) = batches_of(pairs, stop=1, cutting=None)
    assert batch.windows is None
    assert batch.size == batch.frame_size == FRAME


def test_cityscapes_and_ddad_are_cut_from_their_native_frames(tmp_path):
    write_cityscapes_pair(tmp_path / "cities", "train", "ulm_000001_000019", seed=1)
    write_ddad(tmp_path / "ddad")
    window = Window.drawn(Draw(False, (), 1.4, (0.5, 0.5)), FRAME, CROP)
    for root, views in ((tmp_path / "cities", ("stereo",)), (tmp_path / "ddad", (-1, 1))):
        large = open_training_sets(root, DataConfig(), "calibrated", views, *window.enlarged, tmp_path / "c").training
        frames = open_training_sets(root, DataConfig(), "calibrated", views, *FRAME, tmp_path / "c").training
        assert isinstance(frames, NativeDataset)
        whole, part = large[0], read_window(frames, 0, window)
        for expected, found in ((whole.target, part.target), (whole.sources, part.sources)):
            expected = expected[..., window.top : window.top + CROP[0], window.left : window.left + CROP[1]]
            assert (expected.int() - found.int()).abs().max() <= ROUNDING
        assert part.intrinsics.equal(whole.intrinsics)


class Stored:
    """A data set that has its frames at the training size alone, with a mask."""

    source_ids = ("stereo",)

    def __init__(self, image):
        self.image = torch.from_numpy(image.copy()).permute(2, 0, 1)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        mask = torch.ones(1, *FRAME, dtype=torch.bool)
        mask[:, -20:] = False
        return Sample(f"stored {index}", self.image, self.image[None], torch.eye(3), mask=mask)


def test_frames_that_are_stored_at_the_training_size_are_enlarged_by_lanczos_and_stay_near_native_ones(pairs):
    native = picture(2, 75, 248)
    copy = resize_image(native, *FRAME)
    window = Window.drawn(Draw(False, (), 1.5, (1 - 1e-9, 0.5)), FRAME, CROP)
    part = read_window(Stored(copy), 1, window)
    assert part.target.shape == (3, *CROP)
    assert part.sources[0].equal(part.target)
    assert not part.mask[0, -30:].any()
    assert part.mask[0, :-32].all()
    reference = cut_image(native, window.shares(), *CROP).astype(float)
    blurred = resize(torch.tensor(copy).permute(2, 0, 1).float(), *window.enlarged)
    blurred = blurred[:, window.top : window.top + CROP[0], window.left : window.left + CROP[1]]
    by_lanczos = abs(part.target.permute(1, 2, 0).double().numpy() - reference).mean()
    bilinearly = abs(blurred.permute(1, 2, 0).double().numpy() - reference).mean()
    assert by_lanczos < 0.5 * bilinearly


def test_joint_data_are_cut_each_from_their_own_frames(pairs):
    stored = Stored(resize_image(picture(2, 75, 248), *FRAME))
    joint = JointDataset([pairs, stored])
    window = Window.drawn(Draw(False, (), 1.2, (0.5, 0.5)), FRAME, CROP)
    last = len(pairs) - 1
    assert read_window(joint, last, window).target.equal(pairs.read_window(last, window).target)
    assert read_window(joint, last + 2, window).name == "stored 1"
    with pytest.raises(IndexError):
        read_window(joint, last + 3, window)


def test_a_window_that_is_mirrored_twice_is_itself():
    window = Window.drawn(Draw(True, (), 1.3, (0.2, 0.9)), FRAME, CROP)
    assert window.mirrored() != window
    assert window.mirrored().mirrored() == window
    camera = window.camera(Camera(torch.eye(3), *FRAME))
    assert (camera.height, camera.width) == CROP


def test_without_a_crop_the_window_has_the_size_of_the_frame(pairs):
    config = AugmentationConfig(jitter_probability=0, max_scale=1.15)
    (batch,) = batches_of(pairs, stop=1, cutting=Cutting(config, SEED, FRAME))
    assert batch.size == FRAME
    assert augment(batch, config, SEED, 0).size == FRAME
