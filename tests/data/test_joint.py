"""Several data sets trained on as one: a drive in KITTI's layout with pairs of Cityscapes, and what does not go."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from egodepth.data.configurations import AugmentationConfig, DataConfig
from egodepth.data.joint import JointDataset
from egodepth.data.opening import open_training_sets
from egodepth.data.samples import Batch, Sample
from egodepth.data.transforms import augment, without_augmentation
from egodepth.errors import UserError
from egodepth.methods.configurations import OptimiserConfig, PhotometricConfig, SelfDistilledConfig
from egodepth.methods.photometric import PhotometricMethod
from egodepth.methods.self_distilled import SelfDistilledMethod
from egodepth.methods.view_synthesis import TrainingSetup
from egodepth.networks.configurations import Monodepth2Config, SDFANetConfig
from egodepth.recipes import RECIPES
from tests.command_line import SMALL, TINY, only_line, run
from tests.data.trees import write_cityscapes_pair, write_ddad, write_frames, write_triplet

TINY_SDFA = ["--losses.perceptual-weight", "0", "--augmentation.crop", "64", "64", "--network.levels", "9"]
SIZE = 48, 160


@pytest.fixture(scope="module")
def cities(tmp_path_factory) -> Path:
    """Three pairs of Cityscapes to train on, one to validate on; 0.2 m apart."""
    root = tmp_path_factory.mktemp("joint") / "cities"
    for number in (1, 2, 3):
        write_cityscapes_pair(root, "train", f"ulm_00000{number}_000019", seed=number)
    write_cityscapes_pair(root, "val", "munster_000001_000019", seed=9)
    return root


def opened(root, *also, views=("stereo",), intrinsics="calibrated", **options):
    config = DataConfig(also=also, **options)
    return open_training_sets(root, config, intrinsics, views, *SIZE, root.parent / "cache")


def same(one: Sample, other: Sample) -> bool:
    pictures = torch.equal(one.target, other.target) and torch.equal(one.sources, other.sources)
    return pictures and one.name == other.name and torch.equal(one.intrinsics, other.intrinsics)


# --- the data set ---


def test_an_epoch_shows_every_sample_of_every_set_once(drive, cities):
    sets, alone, others = opened(drive, cities), opened(drive), opened(cities)
    count = len(alone.training)
    assert len(sets.training) == count + 3
    assert len(sets.first) == count
    places = {count - 1: (alone, count - 1), count: (others, 0), count + 2: (others, 2), 0: (alone, 0)}
    for index, (part, place) in places.items():
        assert same(sets.training[index], part.training[place])
    with pytest.raises(IndexError):
        sets.training[count + 3]


def test_each_sample_keeps_its_own_camera_and_baseline(drive, cities):
    sets = opened(drive, cities)
    ours, theirs = sets.training[0], sets.training[len(sets.training) - 1]
    assert theirs.baseline_m == pytest.approx(0.2)
    assert ours.baseline_m == opened(drive).training[0].baseline_m != theirs.baseline_m
    assert theirs.intrinsics[0, 0] == pytest.approx(100 / 160)


def test_the_first_data_alone_validate(drive, cities):
    assert len(opened(drive, cities).validation) == len(opened(drive).validation)
    assert opened(cities, drive).validation[0].name == opened(cities).validation[0].name


def test_three_sets_are_joined_in_their_order(drive, cities, tmp_path):
    write_cityscapes_pair(tmp_path / "more", "train", "bonn_000000_000019")
    training = opened(cities, tmp_path / "more", drive).training
    assert [len(part) for part in training.datasets] == [3, 1, len(opened(drive).training)]
    assert "bonn" in training[3].name


def test_split_and_stride_are_of_the_first_data_alone(drive, cities, tmp_path):
    split = tmp_path / "split"
    split.mkdir()
    line = next((drive / "splits").glob("*/train_files.txt")).read_text().splitlines()[0]
    for name in ("train_files.txt", "val_files.txt"):
        (split / name).write_text(f"{line}\n")
    sets = opened(drive, cities, split=str(split))
    assert [len(part) for part in sets.training.datasets] == [1, 3]


def test_the_sides_are_for_all_data(drive, cities):
    sets = opened(drive, cities, sides="left")
    assert len(sets.training) == len(opened(drive).training) // 2 + 3
    assert {sets.training[index].stereo_offset for index in range(len(sets.training))} == {-1.0}
    assert {sets.validation[index].stereo_offset for index in range(len(sets.validation))} == {-1.0}
    swapped = opened(cities, drive, sides="left").training
    assert {swapped[index].stereo_offset for index in range(len(swapped))} == {-1.0}
    assert {name: recipe.data.sides for name, recipe in RECIPES.items() if recipe.data.sides == "left"}.keys() == {
        name for name in RECIPES if name.startswith("sdfa-net")
    }


def test_right_images_are_targets_only_where_a_flip_swaps_the_pair(drive):
    sample = opened(drive, sides="left").training[0]
    always = replace(RECIPES["sdfa-net"].augmentation, flip_probability=1.0, min_scale=1.0, max_scale=1.0, crop=None)
    views = augment(batch_of(sample), always, 0, 0)
    assert torch.equal(views.target[0], sample.sources[0].flip(-1) / 255)
    assert torch.equal(views.sources[0, 0], sample.target.flip(-1) / 255)
    assert views.stereo_offset.tolist() == [-1.0]


def test_the_crop_is_for_all_cityscapes_data(drive, cities):
    cut = opened(drive, cities, crop="sdfa").training
    # 155 of 160 columns are left of the crop's, 30 of 48 rows.
    assert cut[len(cut) - 1].intrinsics[0, 0] == pytest.approx(100 / 155)
    assert RECIPES["sdfa-net"].data.crop == RECIPES["sdfa-net-r18"].data.crop == "sdfa"


def test_fixed_intrinsics_give_the_published_baselines(drive, cities):
    training = opened(drive, cities, intrinsics="fixed").training
    baselines = training[0].baseline_m, training[len(training) - 1].baseline_m
    assert baselines == pytest.approx((0.54, 0.22))
    assert baselines[1] / baselines[0] == pytest.approx(0.4074, abs=1e-4)


def test_footage_of_the_same_name_keeps_its_frames_and_its_camera(tmp_path):
    folders = [tmp_path / name / "frames" for name in "ab"]
    for folder, count in zip(folders, (12, 20), strict=True):
        folder.parent.mkdir()
        write_frames(folder, range(count))
        (folder / "camera.json").write_text(json.dumps({"fx": 50 + count, "fy": 50 + count, "cx": 48, "cy": 24}))
    ours, theirs = (opened(folder, views=(-1, 1)).training for folder in folders)
    joint = opened(*folders, views=(-1, 1), intrinsics="40,40,48,24").training
    assert [len(part) for part in joint.datasets] == [len(ours), len(theirs)]
    assert same(joint[len(joint) - 1], theirs[len(theirs) - 1])
    assert joint[0].intrinsics[0, 0] == pytest.approx(40 / 96)


# --- what cannot go together ---


def test_data_without_pairs_are_refused_for_stereo(drive, tmp_path):
    write_ddad(tmp_path)
    with pytest.raises(UserError, match=r"--also: .*no rectified pairs"):
        opened(drive, tmp_path)


def test_triplets_are_refused_for_stereo(drive, tmp_path):
    write_triplet(tmp_path)
    with pytest.raises(UserError, match=r"--also: .*"):
        opened(drive, tmp_path)


def test_the_same_data_twice_are_refused(drive, cities):
    with pytest.raises(UserError, match="is given twice"):
        opened(drive, cities, drive / ".." / drive.name)


def test_what_is_no_data_is_refused_by_its_name(drive, tmp_path):
    with pytest.raises(UserError, match=r"--also: .*nothing: no such file"):
        opened(drive, tmp_path / "nothing")


class Samples:
    """Two samples like the one given."""

    def __init__(self, sample: Sample, source_ids=("stereo",)) -> None:
        self.sample, self.source_ids = sample, source_ids

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return self.sample


@pytest.mark.parametrize(
    ("changes", "source_ids", "said"),
    [
        ({"centred": True}, ("stereo",), "a principal point that a flip moves"),
        ({"target": torch.zeros(3, 32, 64, dtype=torch.uint8)}, ("stereo",), "differs in views or size"),
        ({}, (-1,), "differs in views or size"),
    ],
)
def test_sets_that_disagree_are_refused(drive, changes, source_ids, said):
    first = opened(drive).training
    other = Samples(replace(first[0], name="other", **changes), source_ids)
    with pytest.raises(UserError, match=f"other.*{said}|{said}"):
        JointDataset([first, other])


# --- baselines within a batch ---


def batch_of(*samples: Sample) -> Batch:
    return Batch.of(samples, range(len(samples)), ("stereo",))


def mixed(drive, cities) -> tuple[Sample, Sample]:
    training = opened(drive, cities).training
    return training[0], training[len(training) - 1]


def test_sdfa_net_scales_the_disparities_of_each_sample_by_its_baseline(drive, cities):
    torch.manual_seed(0)
    network = SDFANetConfig(encoder="resnet18", levels=9).build().eval()
    config = SelfDistilledConfig(perceptual_weight=0)
    method = SelfDistilledMethod(network, None, config, AugmentationConfig(), OptimiserConfig(), 0)
    ours, theirs = mixed(drive, cities)
    views = without_augmentation(batch_of(ours, theirs))
    expected = [ours.baseline_m / 0.54, theirs.baseline_m / 0.54]
    assert (-method.factor(views) * views.stereo_offset).tolist() == pytest.approx(expected)

    def disparity(*samples):
        alone = without_augmentation(batch_of(*samples))
        with torch.no_grad():
            return method.raw_loss(network.encode(alone.target), alone).disparity

    together = disparity(ours, theirs)
    assert torch.allclose(together, torch.cat([disparity(ours), disparity(theirs)]), rtol=1e-4)
    # Pixels of the same depth network: a pair with a shorter baseline is shifted less, in the ratio of the baselines.
    twin = replace(ours, baseline_m=theirs.baseline_m)
    assert torch.allclose(disparity(twin) / disparity(ours), torch.tensor(0.2 / ours.baseline_m), rtol=1e-5)


def test_view_synthesis_moves_each_sample_by_its_own_baseline_in_units_of_depth(drive, cities):
    network = Monodepth2Config(encoder=TINY).build()
    setup = TrainingSetup(AugmentationConfig(), 5.4, *SIZE)
    method = PhotometricMethod(network, None, PhotometricConfig(), setup, OptimiserConfig(), 0)
    samples = mixed(drive, cities)
    views = without_augmentation(batch_of(*samples))
    shifts = method.transforms(views)[0, :, 0, 3]
    assert shifts.tolist() == pytest.approx([sample.stereo_offset * sample.baseline_m / 5.4 for sample in samples])


def test_metres_are_those_of_the_first_datas_camera(drive, cities):
    recipe = RECIPES["sdfa-net-r18"]
    sets = opened(drive, cities)
    unit = recipe.scale_of_baseline(sets.first)
    assert unit == recipe.scale_of_baseline(opened(drive).training)
    assert unit.metres_per_unit == pytest.approx(0.54 * float(sets.training[0].intrinsics[0, 0]))
    assert unit.origin == "stereo baseline"


# --- through the commands ---


def test_a_run_from_before_there_were_sides_goes_on_with_both(drive, tmp_path, capsys):
    out = tmp_path / "run"
    train = ["train", "sdfa-net-r18", drive, "--out", out, *SMALL, *TINY_SDFA]
    assert run(*train, "--data.sides", "both") == 0
    options = json.loads((out / "run.json").read_text())
    del options["data"]["sides"]
    (out / "run.json").write_text(json.dumps(options))
    capsys.readouterr()
    assert run(*train, "--resume") == 2
    assert "the run has data.sides both, this call left" in only_line(capsys.readouterr().err)
    assert run(*train, "--data.sides", "both", "--resume") == 0


def test_a_joint_run_says_what_it_was_made_of_and_goes_on_with_the_same_data_only(drive, cities, tmp_path, capsys):
    out, options = tmp_path / "run", [*SMALL, *TINY_SDFA]
    train = ["train", "sdfa-net-r18", drive, "--out", out, *options]
    assert run(*train, "--also", cities) == 0
    config = json.loads((out / "model" / "config.json").read_text())
    assert config["provenance"]["data"] == f"{drive.name} + cities"
    assert config["metres_from"] == "stereo baseline"
    assert json.loads((out / "run.json").read_text())["data"]["also"] == [str(cities)]

    capsys.readouterr()
    assert run(*train, "--resume") == 2
    assert "data.also" in only_line(capsys.readouterr().err)
    assert run(*train, "--also", cities, "--resume") == 0


@pytest.mark.parametrize("mode", [["--mode", "stereo"], ["--mode", "stereo", "--pyramid"]], ids=["plain", "pyramid"])
def test_other_recipes_train_on_pairs_of_two_data_sets(drive, cities, tmp_path, mode):
    out = tmp_path / "run"
    options = [*SMALL, "--network.encoder", TINY, *mode]
    assert run("train", "monodepth2", drive, "--also", cities, "--out", out, *options) == 0
    config = json.loads((out / "model" / "config.json").read_text())
    assert (config["metres_per_unit"], config["metres_from"]) == (5.4, "stereo baseline")


def test_packs_are_joined_and_a_pack_holds_one_data_set(drive, cities, tmp_path, capsys):
    options = ["--height", 64, "--width", 96]
    packs = [tmp_path / "one", tmp_path / "two"]
    for data, pack in zip((drive, cities), packs, strict=True):
        assert run("data", "pack", "sdfa-net-r18", data, "--out", pack, *options) == 0
    out = tmp_path / "run"
    assert run("train", "sdfa-net-r18", packs[0], "--also", packs[1], "--out", out, *SMALL, *TINY_SDFA) == 0
    capsys.readouterr()
    both = tmp_path / "both"
    assert run("data", "pack", "sdfa-net-r18", drive, "--also", cities, "--out", both, *options) == 2
    assert "Pack each" in only_line(capsys.readouterr().err)
    assert not both.exists()
