"""Models of transformers as RPrDepth's teachers: what they see, the feature that they show, what their depth means."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from egodepth.data.transforms import Views, resize, without_augmentation
from egodepth.errors import UserError
from egodepth.models.foreign import ForeignModel
from egodepth.models.foreign_teacher import ForeignTeacher, open_as_teacher, teacher_depth
from tests.methods.batches import random_batch
from tests.models.foreign_models import MODELS, save_foreign

CPU = torch.device("cpu")
SIZE = (64, 96)
FARTHEST = 20
"""In multiples of the distance that a picture's mean inverse depth says."""


def views(size: tuple[int, int] = SIZE, stretch: float = 1.0) -> Views:
    """Two pictures whose pixels are `stretch` times as high as wide."""
    found = without_augmentation(random_batch(size, (-1, 1)))
    intrinsics = found.intrinsics.clone()
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = 60 * stretch, 60
    return replace(found, intrinsics=intrinsics)


def as_picture(image: torch.Tensor) -> np.ndarray:
    return (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy()


def expected_depth(model: ForeignModel, picture: np.ndarray) -> np.ndarray:
    """By the words of the documentation, from the map that the model writes of a picture."""
    inverse = np.nan_to_num(model.inverse_depth(picture), nan=0.0).clip(min=0)
    depth = np.minimum(1 / np.maximum(inverse, 1e-9), FARTHEST / inverse.mean())
    return depth if model.predicts.units == "metres" else depth * inverse.mean()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save_foreign(name, tmp_path_factory.mktemp("models") / "model") for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_every_type_gives_a_depth_and_a_feature_at_a_quarter_of_the_size(name, folders):
    model = ForeignModel(f"hf:{folders[name]}", CPU)
    teacher, seen = ForeignTeacher(model), views()
    reading = teacher.read(seen)
    assert teacher.sources == ()
    assert reading.feature.shape == (2, 8, 16, 24)
    assert reading.feature.std((2, 3)).min() > 0
    assert reading.depth.shape == (2, 1, *SIZE)
    assert not reading.depth.requires_grad
    assert teacher.inverse == (name in ("depth_anything", "dpt"))
    torch.testing.assert_close(teacher.pseudo_depth(seen), reading.depth)
    for image, depth in zip(seen.target, reading.depth, strict=True):
        np.testing.assert_allclose(depth[0], expected_depth(model, as_picture(image)), rtol=1e-3)
    with pytest.raises(UserError, match="no second opinion"):
        teacher.reliable(seen, reading.depth)


@pytest.mark.parametrize("name", ["depth_anything", "zoedepth", "depth_pro", "glpn"])
def test_the_feature_lies_over_the_picture(name, folders):
    """What changes in a corner of the picture changes most in that corner of the feature."""
    teacher = ForeignTeacher(ForeignModel(f"hf:{folders[name]}", CPU))
    plain = views()
    for top, left in ((0, 0), (48, 72)):
        target = plain.target.clone()
        target[..., top : top + 16, left : left + 24] = 1 - target[..., top : top + 16, left : left + 24]
        change = (teacher.read(replace(plain, target=target)).feature - teacher.read(plain).feature).abs().mean((0, 1))
        quarters = change.unflatten(0, (4, 4)).unflatten(2, (4, 6)).mean((1, 3))
        assert int(quarters.argmax()) == (0 if top == 0 else 15)


def test_a_picture_that_training_squeezed_is_seen_in_its_own_form(folders):
    model = ForeignModel(f"hf:{folders['depth_anything']}", CPU)
    for size, stretch, form in (((64, 192), 2.0, (128, 192)), ((64, 96), 0.5, (64, 192)), ((64, 96), 1.01, (64, 96))):
        seen = views(size, stretch)
        wide = model.answer((255 * resize(seen.target, *form)).round().to(torch.uint8), size).values
        expected = teacher_depth(wide[:, None], inverse=True, metric=False)
        torch.testing.assert_close(ForeignTeacher(model).pseudo_depth(seen), expected)


def test_a_wide_picture_is_not_made_smaller_than_the_model_was_trained_for(folders):
    """The preprocessing alone would make 14x56 of 32x192, as the side of 192 is nearer to its 56 than that of 32."""
    model = ForeignModel(f"hf:{folders['depth_anything']}", CPU)
    heights = []
    model._network.register_forward_pre_hook(
        lambda _, __, given: heights.append(given["pixel_values"].shape[-2:]), with_kwargs=True
    )
    model.inverse_depth(as_picture(views((32, 192)).target[0]))
    ForeignTeacher(model).pseudo_depth(views((32, 192)))
    assert heights == [(14, 56), (56, 336)]


def test_pictures_of_several_cameras_are_each_seen_in_their_form(folders):
    teacher = ForeignTeacher(ForeignModel(f"hf:{folders['dpt']}", CPU))
    square, squeezed = views(), views(stretch=2.0)
    mixed = replace(square, intrinsics=torch.stack([squeezed.intrinsics[0], square.intrinsics[1]]))
    reading = teacher.read(mixed)
    torch.testing.assert_close(reading.depth[0], teacher.read(squeezed).depth[0])
    torch.testing.assert_close(reading.depth[1], teacher.read(square).depth[1])
    torch.testing.assert_close(reading.feature[1], teacher.read(square).feature[1])


def test_no_value_of_a_model_makes_a_depth_that_cannot_be_compared():
    values = torch.tensor([[0.0, 1.0, 3.0, -2.0]])[None, None]
    assert teacher_depth(values, inverse=True, metric=False).flatten().tolist() == [20, 1, pytest.approx(1 / 3), 20]
    assert teacher_depth(0 * values, inverse=True, metric=False).flatten().tolist() == [1, 1, 1, 1]
    metres = torch.full((1, 1, 1, 1000), 10.0)
    metres[..., 0], metres[..., 1] = -1, 10_000
    found = teacher_depth(metres, inverse=False, metric=True)
    assert found.isfinite().all()
    assert found[..., 2:].unique().tolist() == [pytest.approx(10)]
    assert 0 < found[..., 0] < 1
    assert found[..., 1] < 10_000
    assert teacher_depth(0 * metres, inverse=False, metric=True).isfinite().all()


def test_a_teacher_is_known_by_its_weights_wherever_they_lie(folders, tmp_path):
    shutil.copytree(folders["dpt"], tmp_path / "copy")
    own = open_as_teacher(f"hf:{folders['dpt']}").rich_teacher().hash()
    assert open_as_teacher(str(tmp_path / "copy")).rich_teacher().hash() == own
    tensors = load_file(tmp_path / "copy" / "model.safetensors")
    tensors[next(iter(tensors))] += 1
    save_file(tensors, tmp_path / "copy" / "model.safetensors", {"format": "pt"})
    assert open_as_teacher(str(tmp_path / "copy")).rich_teacher().hash() != own


@pytest.mark.parametrize(
    ("student", "rich"),
    [((192, 640), (320, 1024)), ((320, 1024), (320, 1024)), ((288, 512), (576, 1024)), ((384, 1280), (384, 1280))],
)
def test_frames_are_read_in_the_student_s_form_at_the_paper_s_width(student, rich, folders):
    assert open_as_teacher(f"hf:{folders['dpt']}").rich_size(student) == rich


def test_a_type_that_is_not_known_is_refused(folders, tmp_path):
    shutil.copytree(folders["dpt"], tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": "chmv2"}))
    with pytest.raises(UserError, match="is of type chmv2"):
        open_as_teacher(f"hf:{tmp_path / 'other'}").rich_teacher()
