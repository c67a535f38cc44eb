"""A model as a folder that can be used without egodepth: the model, its facts, an example, and code that runs it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from egodepth.data.images import read_image, resize_image
from egodepth.deployment.calibration import calibration_pictures
from egodepth.deployment.configurations import FormatName, Quantisation
from egodepth.deployment.formats import FORMATS, Work
from egodepth.deployment.snippets import snippets_of
from egodepth.errors import UserError, first_line
from egodepth.files import replacing
from egodepth.inference.graph import picture_channels
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.networks.configurations import SIZE_MULTIPLE
from egodepth.networks.model_config import CONFIG_FILE

EXAMPLE = Path(__file__).parents[1] / "examples" / "town-traffic.jpg"
PICTURE_FILE, DEPTH_FILE = "example.png", "example.npy"

LARGEST: Mapping[Quantisation, float] = {"fp32": 1e-3, "fp16": 5e-2, "int8": float("inf")}
"""Largest relative deviation of a depth at which a model counts as right. A wrong conversion is off by tens of percent;
far pixels enlarge what rounding alone does."""

MEAN: Mapping[Quantisation, float] = {"fp32": 1e-4, "fp16": 5e-3, "int8": 0.1}
"""The same of all of a picture's pixels, on the mean: eight bits move single pixels at borders by much, and saturate on
processors without VNNI, where 5 to 7 % were measured."""


@dataclass(frozen=True)
class Deviation:
    """How far a format's depth is from PyTorch's, as shares of it.

    Attributes:
        largest, mean: None where the format does not run on this system.
    """

    largest: float | None
    mean: float | None

    def said(self) -> str:
        """One line for people."""
        if self.mean is None:
            return "not checked: it does not run on this system"
        return f"depths differ from PyTorch's by {self.mean:.2%} on the mean, {self.largest:.2%} at most"


def export_folder(
    predictor: NetworkPredictor,
    config: Mapping[str, Any],
    out: Path,
    form: FormatName,
    height: int | None = None,
    width: int | None = None,
    quantisation: Quantisation = "fp32",
    data: Sequence[str | Path] = (),
) -> Deviation:
    """Write a model in a format, held against PyTorch before it gets its name.

    Args:
        config: of the model's `config.json`.
        out: a new folder, or an empty one.
        height, width: of the images that it will take; the model's own by default.
        data: pictures and videos from which the ranges of eight bits are found.

    Raises:
        UserError: the format is not installed or does not take the model, a size or the data do not suit, the place
            cannot be written to, or the depths are not PyTorch's; nothing is left behind.
    """
    record = FORMATS[form]
    record.require(quantisation)
    size = height or predictor.height, width or predictor.width
    for option, value in zip(("--height", "--width"), size, strict=True):
        if value <= 0 or value % SIZE_MULTIPLE:
            raise UserError(f"{option} {value}: a network's size is a multiple of {SIZE_MULTIPLE}. Choose such a size.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not an empty folder. Name a new folder.")
    if (quantisation == "int8") != bool(data):
        raise UserError("--quantize int8 and --data go together: ranges are found from pictures of the model's use.")
    pictures = calibration_pictures(data, *size) if data else None
    predictor.network.cpu()
    work = Work(predictor.network, predictor.metres_per_unit, *size, quantisation, pictures)
    with replacing(out) as folder:
        folder.mkdir()
        image = _example(work)
        with torch.inference_mode():
            expected = work.graph(torch.from_numpy(image)).numpy()
        try:
            record.write(work, folder)
            deviation = _checked(form, folder, image, expected, quantisation)
        except UserError:
            raise
        except Exception as error:  # converters and engines raise types of their own
            raise UserError(
                f"{record.title} does not take this model ({first_line(error)}). Try --format onnx."
            ) from error
        _write_example(folder, image, expected)
        facts = _facts(form, work, predictor)
        text = json.dumps({**config, "height": size[0], "width": size[1], "exported": facts}, indent=2) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
        for name, code in snippets_of(form, work.height, work.width, picture_channels(predictor.network)).items():
            (folder / name).write_text(code, encoding="utf-8")
    return deviation


def _example(work: Work) -> np.ndarray:
    """A picture as the network takes it; frames before it are missing, that is, black."""
    pixels = resize_image(read_image(EXAMPLE), work.height, work.width)
    image = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    missing = np.zeros((1, picture_channels(work.network) - 3, work.height, work.width), np.float32)
    return np.concatenate([image, missing], axis=1)


def _checked(
    form: FormatName, folder: Path, image: np.ndarray, expected: np.ndarray, quantisation: Quantisation
) -> Deviation:
    """Raises UserError: the depths are not PyTorch's."""
    record = FORMATS[form]
    if record.run is None:
        return Deviation(None, None)
    found = record.run(folder, image).reshape(expected.shape)
    differing = np.abs(found / expected - 1)
    deviation = Deviation(float(differing.max()), float(differing.mean()))
    if not (deviation.largest <= LARGEST[quantisation] and deviation.mean <= MEAN[quantisation]):  # NaN fails this too
        remedy = "Use --quantize fp32." if quantisation != "fp32" else "Update torch and the converter."
        raise UserError(f"{record.title}: {deviation.said()}; the model was not kept. {remedy}")
    return deviation


def _write_example(folder: Path, image: np.ndarray, expected: np.ndarray) -> None:
    pixels = (image[0, :3].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(folder / PICTURE_FILE)
    np.save(folder / DEPTH_FILE, expected[0, 0])


def _facts(form: FormatName, work: Work, predictor: NetworkPredictor) -> dict[str, Any]:
    """What the folder says of its model, for programs that know nothing of egodepth."""
    channels = picture_channels(work.network)
    image, depth = FORMATS[form].names
    frames = "" if channels == 3 else "; channels 3 to 5 are the frame before, black where there is none"
    return {
        "format": form,
        "file": FORMATS[form].file,
        "quantisation": work.quantisation,
        "inputs": {image: f"(1, {channels}, {work.height}, {work.width}) float32, RGB in [0, 1]{frames}"},
        "outputs": {depth: f"(1, 1, {work.height}, {work.width}) float32, {predictor.unit}"},
        "metres_in_depth": predictor.metres_per_unit,
        "time_offsets": list(predictor.time_offsets),
    }
