from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from egodepth.data.samples import Sample
from egodepth.data.transforms import Views
from egodepth.errors import UserError
from egodepth.methods.rich_teachers import Reading, SingleImageTeacher
from egodepth.networks.configurations import Monodepth2Config, RPrDepthConfig, SmallDepthConfig
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.prior.building import build_reference_set, positions, sample_reading, select_references
from tests.methods.batches import random_batch

SMALL = SmallDepthConfig(widths=(16, 16, 32, 32, 32), middles=(16, 32, 32, 32), repeats=(1, 1, 1, 1))
SIZE = (64, 96)
IMAGES, PIXELS = 5, 23


class Pictures:
    """A dataset of random pictures; reading the one at `broken` is a power cut."""

    source_ids = (-1, 1)

    def __init__(self, count: int = 7, broken: int | None = None) -> None:
        self.batch, self.broken = random_batch(SIZE, (-1, 1), count), broken
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.batch)

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        if len(self.read) - 1 == self.broken:
            raise KeyboardInterrupt
        batch = self.batch
        return Sample(str(index), batch.target[index], batch.sources[index], batch.intrinsics[index])


class Ruler:
    """A teacher whose feature and depth say where a pixel is: x and y in shares of the image, depth 1 + y."""

    sources = (-1,)
    inverse = False

    def __init__(self, name: str = "ruler") -> None:
        self.name = name

    def to(self, device: torch.device) -> None:
        pass

    def hash(self) -> str:
        return self.name

    def read(self, views: Views) -> Reading:
        height, width = views.size
        return Reading(1 + _grid(height, width)[:, 1:], _grid(height // 4, width // 4))


def _grid(height: int, width: int) -> Tensor:
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]


def build(out: Path, dataset: Pictures | None = None, teacher: object | None = None, **options: object) -> ReferenceSet:
    settings = {"images": IMAGES, "pixels_per_image": PIXELS, "seed": 3, "progress": False} | options
    return build_reference_set(teacher or Ruler(), dataset or Pictures(), out, **settings)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egodepth.prior.building.IMAGES_PER_PART", 2)


def test_each_band_of_rows_has_the_same_number_of_pixels():
    places = positions(1300, seed=0, index=4)
    assert torch.histc(places[:, 1], 10, 0, 1).tolist() == [130] * 10
    assert torch.histc(places[:, 0], 4, 0, 1).min() > 250
    assert torch.equal(places, positions(1300, seed=0, index=4))
    assert not torch.equal(places, positions(1300, seed=0, index=5))
    assert not torch.equal(places, positions(1300, seed=1, index=4))
    assert positions(3, seed=0, index=0).shape == (3, 2)


def test_feature_and_depth_are_of_the_same_place():
    places = 0.1 + 0.8 * positions(50, seed=0, index=0)
    features, depths = sample_reading(Ruler().read(_views()), places)
    torch.testing.assert_close(features.float(), places, atol=2e-3, rtol=0)
    torch.testing.assert_close(depths.float(), 1 + places[:, 1], atol=2e-3, rtol=0)


def _views() -> Views:
    from egodepth.data.transforms import without_augmentation

    return without_augmentation(random_batch(SIZE, (-1, 1), 1))


def test_a_set_says_where_it_comes_from(tmp_path: Path):
    found = build(tmp_path / "prior.safetensors")
    assert len(found) == IMAGES * PIXELS
    assert found.features.dtype == found.depths.dtype == torch.float16
    entries = ("teacher", "images", "of_images", "pixels_per_image", "seed", "height", "width")
    assert [found.provenance[name] for name in entries] == ["ruler", 5, 7, 23, 3, 64, 96]
    assert len(set(found.provenance["names"])) == IMAGES
    torch.testing.assert_close(found.mean, found.features.float().mean(0), atol=1e-5, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["prior.safetensors"]


def test_a_killed_build_goes_on_to_the_same_file(tmp_path: Path, small_parts: None):
    build(tmp_path / "whole.safetensors")
    cut, rest = Pictures(broken=5), Pictures()
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cut.safetensors", cut)
    assert not (tmp_path / "cut.safetensors").exists()
    build(tmp_path / "cut.safetensors", rest)
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    # One look for the size, what was left, and the names.
    assert len(rest.read) == 1 + (IMAGES - 4) + IMAGES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.safetensors", "whole.safetensors"]


def test_a_finished_set_is_not_built_again(tmp_path: Path):
    first = build(tmp_path / "prior.safetensors")
    again = Pictures()
    assert torch.equal(build(tmp_path / "prior.safetensors", again).features, first.features)
    assert len(again.read) == 1


@pytest.mark.parametrize(
    ("options", "different"),
    [({"teacher": Ruler("other")}, "teacher"), ({"seed": 4}, "seed"), ({"pixels_per_image": 9}, "pixels_per_image")],
    ids=["teacher", "seed", "pixels"],
)
def test_a_set_of_other_settings_is_not_taken_for_this_one(tmp_path: Path, options, different, small_parts: None):
    build(tmp_path / "prior.safetensors")
    with pytest.raises(UserError, match=f"holds a prior with another {different}"):
        build(tmp_path / "prior.safetensors", **options)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cut.safetensors", Pictures(broken=4))
    with pytest.raises(UserError, match="unfinished call with other settings"):
        build(tmp_path / "cut.safetensors", **options)


def test_the_views_that_a_teacher_needs_are_asked_for(tmp_path: Path):
    teacher = Ruler()
    teacher.sources = (-2, -1)
    with pytest.raises(UserError, match="needs the views -2"):
        build(tmp_path / "prior.safetensors", teacher=teacher)


def test_a_real_teacher_gives_a_set_that_knows_it(tmp_path: Path):
    torch.manual_seed(0)
    teacher = SingleImageTeacher(Monodepth2Config().build())
    found = build(tmp_path / "prior.safetensors", teacher=teacher, images=2)
    assert found.features.shape == (2 * PIXELS, 64)
    assert found.depths.min() >= 0.1
    found.check_teacher(teacher.hash())
    with pytest.raises(UserError, match="Give the teacher that it was built with"):
        found.check_teacher(SingleImageTeacher(Monodepth2Config().build()).hash())


# --- selection -------------------------------------------------------------------------------------------------

PLANTED = [3, 17, 31, 32, 58]


def planted() -> tuple[RPrDepth, ReferenceSet]:
    """A network, and references of which a few look like what the student sees; the others look away from it."""
    torch.manual_seed(0)
    # A sharper affinity would give nearly all weight to the first of the planted ones.
    network = RPrDepthConfig(student=SMALL, references=60, temperature=10.0).build().eval()
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 64, generator=generator)
    with torch.no_grad():
        fusion = network.fusion
        with network._watched() as seen:
            network.student.finest(random_batch(SIZE, (-1, 1), 7).target.float() / 255)
        seen_like = fusion._queries(seen[0][0])[0].mean(0)
        # What the alignment maps to the mean query, and what it maps to the opposite.
        towards = torch.linalg.lstsq(fusion.references.align.weight, seen_like[:, None]).solution[:, 0]
        towards = 20 * towards / towards.norm()
        features -= towards
        features[PLANTED] += 2 * towards
    # Normalisation off: the set is given as the network sees it.
    references = replace(
        ReferenceSet.of(features.half(), torch.ones(60).half(), {"teacher": "abc"}),
        mean=torch.zeros(64),
        deviation=torch.ones(64),
    )
    network.load_references(references)
    return network, references


@pytest.mark.parametrize(("images", "stride"), [(None, 1), (3, 2)], ids=["exact", "sampled"])
def test_planted_references_are_found(tmp_path: Path, images: int | None, stride: int):
    network, references = planted()
    out = tmp_path / "small.safetensors"
    found = select_references(
        network, references, Pictures(), out, keep=5, images=images, stride=stride, progress=False
    )
    assert {tuple(x.tolist()) for x in found.features} == {tuple(x.tolist()) for x in references.features[PLANTED]}
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.scores.min() > 2 / 60
    assert torch.equal(found.mean, references.mean)
    assert found.provenance["teacher"] == "abc"
    assert found.provenance["selected_by"] == (images or 7)
    read = ReferenceSet.load(out)
    assert torch.equal(read.features, found.features)


def test_a_killed_selection_goes_on_to_the_same_file(tmp_path: Path, small_parts: None):
    network, references = planted()
    select_references(network, references, Pictures(), tmp_path / "whole.safetensors", keep=9, progress=False)
    rest = Pictures()
    with pytest.raises(KeyboardInterrupt):
        select_references(network, references, Pictures(broken=5), tmp_path / "cut.safetensors", keep=9, progress=False)
    select_references(network, references, rest, tmp_path / "cut.safetensors", keep=9, progress=False)
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert len(rest.read) == 7 - 4
    select_references(network, references, rest, tmp_path / "cut.safetensors", keep=9, progress=False)
    assert len(rest.read) == 7 - 4


def test_a_selection_by_another_network_is_not_taken_for_this_one(tmp_path: Path):
    network, references = planted()
    out = tmp_path / "small.safetensors"
    select_references(network, references, Pictures(), out, keep=9, images=1, progress=False)
    with torch.no_grad():
        network.fusion.temperature += 1
    with pytest.raises(UserError, match="another selected_for"):
        select_references(network, references, Pictures(), out, keep=9, images=1, progress=False)


def test_what_cannot_be_selected_is_refused(tmp_path: Path):
    network, references = planted()
    with pytest.raises(UserError, match="--keep 61: the prior has 60"):
        select_references(network, references, Pictures(), tmp_path / "x.safetensors", keep=61, progress=False)
    other = references.kept(torch.arange(10))
    with pytest.raises(UserError, match="10 references, the network has others"):
        select_references(network, other, Pictures(), tmp_path / "x.safetensors", keep=5, progress=False)
