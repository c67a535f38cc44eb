"""The face that a trained depth network shows its users: pictures of any size in, depth of the same size out."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.images import resize_image
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.inference.runtimes import Runtime, RuntimeName, TorchRuntime, open_runtime
from egodepth.networks.configurations import SIZE_MULTIPLE, size_for

RANGE_TOLERANCE = 1e-3
"""How far an image may leave [0, 1]: what a bicubic resize or a rounding overshoots, and no more."""


class Predictor:
    """A trained depth model, ready to use. `egodepth.load(MODEL)` returns one.

        model = egodepth.load("path/to/model").to("cuda")
        depth = model.predict_depth(image)      # (B, 3, H, W) in [0, 1] -> (B, 1, H, W)

    Pictures may have any size and shape: they are brought to the network's own size, and its answer is brought
    back. No gradients are kept; all arithmetic is in float32.

    Attributes:
        network: the depth network, in evaluation mode, on `device`.
        height, width: the size at which the network sees a picture, in pixels.
        metres_per_unit: length of the network's unit of depth in metres. None when the scale cannot be known
            (training from one moving camera): depths are then right up to one unknown factor.
        metres_of_width: the same for pictures of some native widths in pixels, by which their cameras are known;
            pictures of other widths go by `metres_per_unit`.
        focal: focal length, in widths of the picture, of the camera that the metres belong to; None where it is not
            known. Pictures of another camera are told by giving it: what looks alike through a lens twice as long is
            twice as far away.
        device: where the network runs.
        keeps_aspect: the network takes pictures of any form, see `fitted_to`.
        recipe: name of the recipe that the network was built from, where it is known.
        runtime: the engine that runs the network: PyTorch, unless `with_runtime` chose another.
    """

    def __init__(
        self,
        network: nn.Module,
        height: int,
        width: int,
        metres_per_unit: float | None = None,
        device: torch.device | str = "cpu",
        recipe: str | None = None,
        metres_of_width: Mapping[int, float] | None = None,
        focal: float | None = None,
        keeps_aspect: bool = False,
    ) -> None:
        """Take over `network`: it is put into evaluation mode and moved to `device` as float32.

        Raises:
            ValueError: a size that is not a positive multiple of 32, or a scale that is not a positive number.
        """
        if min(height, width) <= 0 or height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise ValueError(f"a network's size must be multiples of {SIZE_MULTIPLE}, got {height}x{width}")
        self.height = height
        self.width = width
        self.metres_per_unit = _checked_scale(metres_per_unit)
        self.metres_of_width = {width: _checked_scale(value) for width, value in (metres_of_width or {}).items()}
        self.focal = focal
        self.keeps_aspect = keeps_aspect
        self.recipe = recipe
        self.network = network.eval()
        self.to(device)

    @property
    def is_metric(self) -> bool:
        """Whether depths are metres. Where not, they are right up to one unknown factor."""
        return self.metres_per_unit is not None

    def to(self, device: torch.device | str) -> Self:
        """Move the network to `device`, where PyTorch runs it, and return this predictor."""
        self.device = torch.device(device)
        self.network.to(device=self.device, dtype=torch.float32)
        self.runtime: Runtime = TorchRuntime(self.network)
        return self

    def with_runtime(self, name: RuntimeName | None = None) -> Self:
        """The same model run by another engine, whose name is then `runtime.name`; the network is shared.

        Args:
            name: None takes the fastest that is installed on the CPU, and PyTorch on any other device. Engines other
                than PyTorch take seconds to prepare and keep the weights as they are now.

        Raises:
            UserError: the engine is not installed, or not for this predictor's device.
        """
        other = copy.copy(self)
        other.runtime = open_runtime(name, self.network, self.height, self.width, self.device)
        return other

    def fitted_to(self, height: int, width: int) -> Self:
        """The same model for pictures of this form: they are seen in it, where the model `keeps_aspect`, not squeezed.

        To be called before `with_runtime`, whose engines are prepared for one size. The network is shared, not copied.
        """
        size = size_for(self.height, self.width, (height, width))
        if not self.keeps_aspect or size == (self.height, self.width):
            return self
        other = copy.copy(self)
        other.height, other.width = size
        other.runtime = TorchRuntime(self.network)
        return other

    def with_scale(self, metres_per_unit: float) -> Self:
        """The same model with another length of its unit of depth, at every width; the network is shared, not copied.

        Raises:
            ValueError: the scale is not a positive number.
        """
        scaled = copy.copy(self)
        scaled.metres_per_unit = _checked_scale(metres_per_unit)
        scaled.metres_of_width = {}
        return scaled

    @property
    def time_offsets(self) -> tuple[int, ...]:
        """Time offsets of the frames that the network looks at beside the current one; -1 is the one before."""
        return getattr(self.network, "time_offsets", ())

    def focal_ratio(self, camera: Camera | None) -> float:
        """How many times as long a camera's focal length is, in widths of its picture, as that of the training.

        Metres are multiplied by it (Metric3D, Yin et al., ICCV 2023, section 3.2). 1 where either is not known.
        """
        if camera is None or self.focal is None or not self.is_metric:
            return 1.0
        return float(camera.intrinsics[0, 0]) / camera.width / self.focal

    @torch.inference_mode()
    def predict_depth(
        self, image: Tensor, neighbours: Mapping[int, Tensor] | None = None, camera: Camera | None = None
    ) -> Tensor:
        """Predict the depth of every pixel.

        A picture of the network's own size goes in as it is. Any other is rounded to 8 bit, brought to the
        network's size by Lanczos resampling and its inverse depth enlarged bilinearly, which is exactly what
        `egodepth predict` and `egodepth evaluate` do with a picture file.

        Args:
            image: (B, 3, H, W) floating point, RGB in [0, 1], any height and width, on any device. Do not
                normalise it: that is the network's own affair.
            neighbours: for a network that looks at other frames too, those of its `time_offsets` that there are, each
                of the same shape: `{-1: previous}`. A black one is missing.
            camera: of these very pictures; `resize`, `crop` and `flip` of a `Camera` follow what was done to them. By
                it metres are right for cameras other than the training's; without it they are as if taken by that.

        Returns:
            (B, 1, H, W) float32 depth along the camera's axis, on the image's device; metres where
            `metres_per_unit` is known, else up to scale.

        Raises:
            ValueError: another shape or type, values outside [0, 1], or a camera of pictures of another size.
            UserError: the model's answer is not a depth (its weights are damaged).
        """
        height, width = image.shape[-2:]
        inputs = self._as_input(image)
        units = [self._unit_m((height, width), camera)] * len(image)
        known = neighbours or {}
        others = [
            self._as_input(known[offset]) if offset in known else torch.zeros_like(inputs)
            for offset in self.time_offsets
        ]
        inverse_depth = self._inverse_depth(_stacked(inputs, others), units)
        return _enlarge(inverse_depth, height, width).reciprocal().to(image.device)

    def predict_images(
        self, images: Sequence[np.ndarray], cameras: Sequence[Camera | None] | None = None
    ) -> list[np.ndarray]:
        """Predict the depths of pictures, which may differ in size, as one batch.

        Args:
            images: (H, W, 3) uint8 RGB each.
            cameras: of the pictures, see `predict_depth`.

        Returns:
            For each picture its depth, (H, W) float32, in metres where the scale is known.

        Raises:
            ValueError, UserError: as `predict_depth`.
        """
        return list(self.predict_depths(images, [image.shape[:2] for image in images], cameras=cameras))

    def predict_inverse_depth(
        self, image: np.ndarray, neighbours: Mapping[int, np.ndarray] | None = None
    ) -> np.ndarray:
        """Predict the inverse depth of one picture at the network's size, for evaluation.

        Args:
            image: (H, W, 3) uint8 RGB, any size.
            neighbours: frames of the network's `time_offsets`, those that there are.

        Returns:
            (`height`, `width`) float32, in 1/metres where the scale is known.
        """
        return self.predict_inverse_depths([image], [neighbours or {}])[0]

    @torch.inference_mode()
    def predict_inverse_depths(
        self, images: Sequence[np.ndarray], neighbours: Sequence[Mapping[int, np.ndarray]] | None = None
    ) -> np.ndarray:
        """`predict_inverse_depth` of a batch: B pictures of any sizes to (B, `height`, `width`) float32."""
        units = [self._unit_m(image.shape[:2]) for image in images]
        return self._inverse_depths(images, neighbours, units)[:, 0].cpu().numpy()

    @torch.inference_mode()
    def predict_depths(
        self,
        images: Sequence[np.ndarray],
        sizes: Sequence[tuple[int, int]],
        neighbours: Sequence[Mapping[int, np.ndarray]] | None = None,
        cameras: Sequence[Camera | None] | None = None,
    ) -> Iterator[np.ndarray]:
        """The depths of a batch, each at a size of its own; they leave the device one after the other, and once.

        Args:
            images, neighbours: as `predict_inverse_depths`; they may be smaller than the depths.
            sizes: height and width of each depth, those of the native pictures.
            cameras: of the native pictures, see `predict_depth`.

        Yields:
            (H, W) float32, in metres where the scale is known.
        """
        units = [self._unit_m(*each) for each in zip(sizes, cameras or [None] * len(sizes), strict=True)]
        inverse_depths = self._inverse_depths(images, neighbours, units)
        for inverse_depth, size in zip(inverse_depths, sizes, strict=True):
            yield _enlarge(inverse_depth[None], *size)[0, 0].reciprocal().cpu().numpy()

    def _inverse_depths(
        self,
        images: Sequence[np.ndarray],
        neighbours: Sequence[Mapping[int, np.ndarray]] | None,
        units: Sequence[float],
    ) -> Tensor:
        """(B, 1, height, width) on the device, of pictures in which a unit of depth has these lengths."""
        if not images:
            return torch.zeros(0, 1, self.height, self.width)
        missing = np.zeros((self.height, self.width, 3), dtype=np.uint8)
        known = neighbours or [{}] * len(images)
        others = [self._network_input([each.get(offset, missing) for each in known]) for offset in self.time_offsets]
        return self._inverse_depth(_stacked(self._network_input(images), others), units)

    def _as_input(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) at the network's size, on its device."""
        _check_image(image)
        if image.shape[-2:] == (self.height, self.width):
            return image.to(self.device, torch.float32).clamp(0, 1)
        return self._network_input([_to_8_bit(each) for each in image])

    def _network_input(self, images: Sequence[np.ndarray]) -> Tensor:
        """(H, W, 3) uint8 pictures of any sizes as one float batch (B, 3, height, width) on the device."""
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise ValueError(f"expected pictures (H, W, 3) uint8, got {image.shape} {image.dtype}")
        pixels = np.stack([self.reduce_image(image) for image in images])
        return torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() / 255

    def reduce_image(self, image: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) uint8 at the network's size; one that has this size already is left alone.

        Whoever reads many large pictures calls this at once, so that only small ones are kept in memory.
        """
        if image.shape[:2] == (self.height, self.width):
            return image
        return resize_image(image, self.height, self.width)

    def _unit_m(self, size: tuple[int, int], camera: Camera | None = None) -> float:
        """The length of a unit of depth in a native picture of this height and width, in metres where known.

        Raises:
            ValueError: the camera is of pictures of another size.
        """
        if camera is not None and (camera.height, camera.width) != tuple(size):
            raise ValueError(
                f"the camera is of pictures {camera.height}x{camera.width}, the picture has {size[0]}x{size[1]}; "
                "resize or crop the camera as the picture was"
            )
        return self.metres_of_width.get(size[1], self.metres_per_unit or 1.0) * self.focal_ratio(camera)

    def _inverse_depth(self, inputs: Tensor, units: Sequence[float]) -> Tensor:
        """Stacked pictures (B, 3 F, height, width) to inverse depth (B, 1, height, width), in 1/metres where known.

        Args:
            units: length of a unit of depth in each picture.
        """
        depth = self.runtime(inputs)
        if not bool((depth > 0).all()):  # NaN fails this too
            raise UserError(
                "the model predicts depths that are not positive numbers: its weights are damaged or its "
                "training diverged. Use an earlier checkpoint or train it again."
            )
        return (depth * depth.new_tensor(units)[:, None, None, None]).reciprocal()


def _stacked(inputs: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Pictures one behind the other along the channels; those of a network of one frame are not copied."""
    return torch.cat([inputs, *others], dim=1) if others else inputs


def _to_8_bit(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] on any device to (H, W, 3) uint8, rounded to the nearest."""
    levels = image.float().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().numpy()


def _enlarge(inverse_depth: Tensor, height: int, width: int) -> Tensor:
    if inverse_depth.shape[-2:] == (height, width):
        return inverse_depth
    return F.interpolate(inverse_depth, (height, width), mode="bilinear", align_corners=False)


def _checked_scale(metres_per_unit: float | None) -> float | None:
    if metres_per_unit is not None and not (math.isfinite(metres_per_unit) and metres_per_unit > 0):
        raise ValueError(f"metres per unit must be a positive number, got {metres_per_unit}")
    return metres_per_unit


def _check_image(image: Tensor) -> None:
    if not isinstance(image, Tensor) or not image.is_floating_point():
        found = f"{image.dtype} tensor" if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"expected an image as a floating-point tensor in [0, 1], got a {found}")
    if image.ndim != 4 or image.shape[1] != 3 or image.numel() == 0:
        raise ValueError(f"expected an image of shape (B, 3, H, W), got {tuple(image.shape)}")
    low, high = (float(value) for value in image.aminmax())
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise ValueError(
            f"expected RGB values in [0, 1], got {low:.3g} to {high:.3g}; divide 8-bit values by 255 and do "
            "not normalise by mean and deviation"
        )
