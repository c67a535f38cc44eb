"""A model that looks at the frame before gets it wherever frames follow each other, not in `predict` alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from egodepth.data.recognise import kind_of
from egodepth.inference.frames import frames_of_data, frames_of_inputs, predicted_depth
from egodepth.inference.inputs import expand_inputs
from egodepth.inference.live import LiveFrame, LiveSource
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import ModelFacts
from egodepth.inference.stream import stream
from egodepth.web.answers import Job, answer
from egodepth.web.limits import WebLimits
from tests.data.trees import write_pictures_as_video

HEIGHT, WIDTH = 32, 64
LEVELS = [3, 5, 7]
EXPECTED = [3, 53, 75]
"""Each picture's level, and that of the one before in the tens; the first has none before it."""


class LooksBack(nn.Module):
    """A stand-in whose depth is the level of the picture, in ones where it is the first and else in tens."""

    time_offsets = (-1,)

    def predict_depth(self, image: Tensor) -> Tensor:
        now, before = ((image[:, place : place + 1] * 255).round().mean(dim=(2, 3), keepdim=True) for place in (0, 3))
        depth = torch.where(before > 0, 10 * now + before, now)
        return depth.expand(-1, 1, *image.shape[-2:])


@pytest.fixture
def model():
    return NetworkPredictor(LooksBack(), ModelFacts(HEIGHT, WIDTH, metres_per_unit=1.0))


def flat(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def folder_of(folder: Path) -> Path:
    folder.mkdir()
    for number, level in enumerate(LEVELS):
        Image.fromarray(flat(level)).save(folder / f"{number}.png")
    return folder


def level_of(depth: np.ndarray) -> int:
    return round(float(np.median(depth)))


def test_in_pictures_that_are_viewed_or_fused(model, tmp_path):
    inputs = expand_inputs([folder_of(tmp_path / "one"), folder_of(tmp_path / "other")])
    frames = list(frames_of_inputs(inputs, time_offsets=model.time_offsets))
    assert [level_of(predicted_depth(model, frame)) for frame in frames] == EXPECTED * 2


def test_in_evaluation_data_that_is_viewed(model, drive):
    """The first frame of the test drive has one before it, which is not a test frame itself."""
    first = next(iter(frames_of_data(drive, kind_of(drive), None, model.time_offsets)))
    alone = next(iter(frames_of_data(drive, kind_of(drive))))
    assert list(first.neighbours) == [-1]
    assert not alone.neighbours
    assert level_of(predicted_depth(model, first)) > level_of(predicted_depth(model, alone))


def test_in_a_stream(model):
    depths: list[int] = []

    class Kept:
        def show(self, image: np.ndarray, depth: np.ndarray, seconds: float) -> bool:
            depths.append(level_of(depth))
            return True

    given = iter(map(flat, LEVELS))
    source = LiveSource("test", lambda: iter(()))
    # One frame after the other, none of them late.
    source.newest = lambda: next((LiveFrame(pixels, 0.0, 0) for pixels in given), None)
    stream(model, source, Kept())
    assert depths == EXPECTED


def test_in_messages_of_a_robot(model):
    messages = pytest.importorskip("tests.ros.messages", reason="needs the extra `ros`")
    from egodepth.inference.ros_messages import MessagePredictor

    predictor = MessagePredictor(model)
    assert [level_of(predictor.see(messages.image(flat(level))).depth_m) for level in LEVELS] == EXPECTED


def test_in_a_video_on_the_page(model, tmp_path, monkeypatch):
    seen: list[int] = []
    predict = NetworkPredictor.predict_images

    def watched(self, *arguments, **named):
        depths = predict(self, *arguments, **named)
        seen.extend(map(level_of, depths))
        return depths

    monkeypatch.setattr(NetworkPredictor, "predict_images", watched)
    video = write_pictures_as_video(tmp_path / "clip.mp4", map(flat, (30, 50, 70)), (HEIGHT, WIDTH))
    answer(model, Job(str(tmp_path), str(video)), WebLimits(), lambda share: None)
    *frames, shown = seen
    assert frames[0] == pytest.approx(30, abs=4)
    assert frames[1:] == pytest.approx([530, 750], abs=40)
    assert shown == pytest.approx(50, abs=4)  # looked at as a picture, alone
