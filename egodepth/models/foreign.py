"""Depth-estimation models of `transformers`, each with its own preprocessing: teachers from the Hugging Face hub.

What a type of model predicts is known from its paper and code, see `TYPES`; nothing is guessed. Code that comes with a
model is never run.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from egodepth.checked_json import read_object
from egodepth.data.configurations import MapUnits
from egodepth.errors import UserError, first_line
from egodepth.files import read_text
from egodepth.models.folder import fetched_from_hub

log = logging.getLogger("egodepth")

FOREIGN = "hf:"
"""What stands before the name of a model of transformers."""

CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
HUB_FILES = ("*.json", "*.safetensors", CARD_FILE)
PICKLED_FILES = ("pytorch_model*.bin",)
WEIGHTS = ("*.safetensors", *PICKLED_FILES)

FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
FREE = ("other", "unknown")
"""What a card says where its licence is none of the common ones."""


@dataclass(frozen=True)
class Prediction:
    """What a model predicts.

    Attributes:
        inverse: inverse depth, not depth.
        units: up to what.
    """

    inverse: bool
    units: MapUnits


RELATIVE = Prediction(inverse=True, units="scale-and-shift")
METRIC = Prediction(inverse=False, units="metres")


def _by_its_type(config: Any) -> Prediction:
    return METRIC if getattr(config, "depth_estimation_type", "relative") == "metric" else RELATIVE


TYPES: Mapping[str, Callable[[Any], Prediction]] = {
    # Yang et al., CVPR 2024 and NeurIPS 2024: affine-invariant inverse depth; fine-tuned ones give metres.
    "depth_anything": _by_its_type,
    # Lin et al., CVPR 2025: metres where a laser's depth prompts it; alone, as here, depth without a unit.
    "prompt_depth_anything": lambda config: Prediction(inverse=False, units="scale"),
    # Ranftl et al., ICCV 2021 (and MiDaS 3.1): inverse depth up to scale and shift.
    "dpt": lambda config: RELATIVE,
    # Kim et al., 2022: trained on one data set's metres.
    "glpn": lambda config: METRIC,
    # Bhat et al., 2023: metres, over MiDaS.
    "zoedepth": lambda config: METRIC,
    # Bochkovskii et al., ICLR 2025: metres, by the field of view that it estimates.
    "depth_pro": lambda config: METRIC,
}
"""What each `model_type` of `config.json` predicts, after its image processor's post-processing."""

FEATURES: Mapping[str, str] = {
    "depth_anything": "neck.fusion_stage",
    "prompt_depth_anything": "neck.fusion_stage",
    "dpt": "neck.fusion_stage",
    "glpn": "decoder",
    "zoedepth": "neck.fusion_stage",
    "depth_pro": "fusion_stage",
}
"""The part of each type that gives a list of maps from coarse to fine, the last of which its depth is read from.

Those of DPT's kind are at half the size that the network sees (DepthPro's too), GLPN's at the whole.
"""


@dataclass(frozen=True)
class Answer:
    """What a model says of pictures.

    Attributes:
        values: (B, H, W) float32, what it predicts, after its own post-processing.
        feature: (B, C, h, w) float32, the finest map before its head, over the same pictures.
    """

    values: Tensor
    feature: Tensor


def is_foreign(model: str) -> bool:
    """Whether a name, `hf:` aside, is that of a folder with a model of transformers: its config names one."""
    file = Path(model) / CONFIG_FILE
    if model.startswith(FOREIGN):
        return True
    if not file.is_file():
        return False
    config = read_object(file)
    return isinstance(config, dict) and "format" not in config and ("model_type" in config or "architectures" in config)


class ForeignModel:
    """A depth-estimation model of transformers, ready to teach.

    Args:
        model: `hf:owner/name` of the hub, `hf:FOLDER`, or a folder.
        device: where it runs.

    Attributes:
        folder: that holds its files.
        predicts: what its answers mean.
        licence: of its weights, by the model card; `unknown` where that does not say.

    Raises:
        UserError: transformers is not installed, or the model cannot be had, is broken, or of a type that is not known.
    """

    def __init__(self, model: str, device: torch.device) -> None:
        self.name = model
        transformers = _transformers()
        self.folder = folder = _folder(model)
        self.predicts = _predicts(model, folder)
        self.licence = licence_of(folder)
        self._device = device
        try:
            self._processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            self._network, loading = transformers.AutoModelForDepthEstimation.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        except Exception as error:  # transformers raises many unrelated types; to the user they mean the same
            raise UserError(f"{model}: cannot be loaded ({first_line(error)}). Fetch it again.") from error
        if missing := sorted(loading["missing_keys"]):
            raise UserError(
                f"{model}: its weights lack {len(missing)} tensors (the first: {missing[0]}). Fetch it again."
            )
        self._network.eval().requires_grad_(False).to(device)

    def shown_size(self, height: float, width: float) -> tuple[int, int]:
        """The size at which to show it a picture, so that its preprocessing loses nothing of the model's own size.

        Preprocessing that keeps the form fits the side that needs less change, which of KITTI's 1024x309 is the longer
        one: Depth Anything then sees 518x154. So the shorter side gets its length here.
        """
        keeps_form = getattr(self._processor, "keep_aspect_ratio", False)
        larger = max(1, self._processor.size["height"] / min(height, width)) if keeps_form else 1
        return round(larger * height), round(larger * width)

    def to(self, device: torch.device) -> None:
        self._device = device
        self._network.to(device)

    @torch.no_grad()
    def answer(self, images: Tensor, size: tuple[int, int]) -> Answer:
        """What it says of pictures (B, 3, h, w) uint8, its values at another height and width."""
        count, shown, maps = len(images), tuple(images.shape[-2:]), []
        inputs = self._processor(images=list(images), return_tensors="pt").to(self._device)
        part = self._network.get_submodule(FEATURES[self._network.config.model_type])
        hook = part.register_forward_hook(lambda _, __, found: maps.append(found[-1].float()))
        try:
            outputs = self._network(**inputs)
        finally:
            hook.remove()
        sizes = {"target_sizes": [size] * count}
        [feature] = maps
        if self._network.config.model_type == "zoedepth":  # takes the padding of its preprocessing off
            sizes["source_sizes"] = [shown] * count
            if self._processor.do_pad:
                feature = _without_padding(feature, shown)
        processed = self._processor.post_process_depth_estimation(outputs, **sizes)
        values = torch.stack([each["predicted_depth"].float().reshape(size) for each in processed])
        return Answer(values, feature)

    def inverse_depth(self, image: np.ndarray) -> np.ndarray:
        """The inverse depth (H, W) float32 of a picture (H, W, 3) uint8; NaN where the model gives none."""
        images = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        values = self.answer(images, image.shape[:2]).values[0].cpu().numpy()
        if self.predicts.inverse:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, 1 / values, np.nan).astype(np.float32)


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that hold weights."""
    return sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))


def weights_hash(folder: Path) -> str:
    """The SHA-256 of the weights in a folder by their files: what tells them from others, wherever they lie."""
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _without_padding(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """A map over a padded picture, without what is over its padding, to the nearest pixel.

    Args:
        size: of the picture; ZoeDepth pads each side by three times the root of half its length.
    """
    for axis, length in zip((-2, -1), size, strict=True):
        padding, across = int(3 * (length / 2) ** 0.5), feature.shape[axis]
        border = round(across * padding / (length + 2 * padding))
        feature = feature.narrow(axis, border, across - 2 * border)
    return feature


def licence_of(folder: Path) -> str:
    """The licence in the front matter of a folder's model card; `unknown` where there is none."""
    card = folder / CARD_FILE
    matter = FRONT_MATTER.search(read_text(card)) if card.is_file() else None
    try:
        said = yaml.safe_load(matter[1]) if matter else None
    except yaml.YAMLError:
        said = None
    if not isinstance(said, dict) or not said.get("license"):
        return "unknown"
    licence = said["license"]
    names = ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)
    own = said.get("license_name")
    return f"{names} ({own})" if own else names


def licence_warning(licence: str) -> str | None:
    """What to mind about a teacher with this licence; None for one that asks for nothing special."""
    words = re.split(r"[^a-z0-9]+", licence.lower())
    if "nc" in words or "noncommercial" in words:
        return "not for commercial use, and neither may be what learns from it"
    if any(word in FREE for word in words):
        return "read its terms before you use what learns from it, above all in a product"
    return None


def report_licence(model: str, licence: str) -> str | None:
    """Log what a teacher's licence allows.

    Returns:
        the warning, where it asks for something special.
    """
    warning = licence_warning(licence)
    if warning is None:
        log.info("%s: its licence is %s.", model, licence)
    else:
        log.warning("%s: its licence is %s: %s.", model, licence, warning)
    return warning


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "a model of transformers teaches, but transformers is not installed. Run: pip install 'egodepth[teachers]'."
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _folder(model: str) -> Path:
    """Where the files of a model are; those of the hub are fetched."""
    name = model.removeprefix(FOREIGN)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG_FILE).is_file():
            raise UserError(f"{model}: no {CONFIG_FILE} in it. Give the folder that holds the model's files.")
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{model}: no such folder. Give hf:owner/name, or hf:FOLDER.")
    fetched = fetched_from_hub(name, model, HUB_FILES)
    if not any(fetched.glob("*.safetensors")):  # older ones; read as tensors alone (weights_only)
        fetched = fetched_from_hub(name, model, (*HUB_FILES, *PICKLED_FILES))
    return fetched


def _predicts(model: str, folder: Path) -> Prediction:
    """Raises UserError: the type of model is not known here."""
    config = read_object(folder / CONFIG_FILE)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in TYPES:
        raise UserError(
            f"{model}: is of type {kind}; what its numbers mean is known of {', '.join(TYPES)}. Write its maps with a "
            "program of your own, for a recipe that takes --teacher-depth FOLDER."
        )
    return TYPES[kind](_Said(config))


class _Said:
    """A config.json by attributes, as transformers' own classes give it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        vars(self).update(config)
