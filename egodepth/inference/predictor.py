"""The face that a trained depth model shows its users: pictures of any size in, depth of the same size out.

What every model does is here, in NumPy alone. `NetworkPredictor` runs a network by PyTorch, `GraphPredictor` an
exported one by engines that need no PyTorch.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from egodepth.data.images import resize_image
from egodepth.geometry.cameras import Camera
from egodepth.inference.configurations import RuntimeName
from egodepth.inference.engines import Runtime
from egodepth.networks.configurations import SIZE_MULTIPLE, size_for

if TYPE_CHECKING:
    from torch import Tensor

    Images = np.ndarray | Tensor

Join = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From a picture (H, W, 3) uint8 and its inverse depth (H, W) to the inverse depth that is kept."""

RANGE_TOLERANCE = 1e-3
"""How far an image may leave [0, 1]: what a bicubic resize or a rounding overshoots, and no more."""

DAMAGED = (
    "the model predicts depths that are not positive numbers: its weights are damaged or its training diverged. Use an "
    "earlier checkpoint or train it again."
)


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model beside its weights.

    Attributes:
        height, width: the size at which it sees a picture, in pixels, multiples of 32.
        metres_per_unit: length of its unit of depth in metres. None when the scale cannot be known (training from one
            moving camera): depths are then right up to one unknown factor.
        metres_of_width: the same for pictures of some native widths in pixels, by which their cameras are known;
            pictures of other widths go by `metres_per_unit`.
        focal: focal length, in widths of the picture, of the camera that the metres belong to; None where it is not
            known. Pictures of another camera are told by giving it: what looks alike through a lens twice as long is
            twice as far away.
        keeps_aspect: it takes pictures of any form, see `Predictor.fitted_to`.
        time_offsets: of the frames that it looks at beside the current one; -1 is the one before.
        recipe: name of the recipe that it was built from, where it is known.

    Raises:
        ValueError: a size that is not a positive multiple of 32, or a scale that is not a positive number.
    """

    height: int
    width: int
    metres_per_unit: float | None = None
    metres_of_width: Mapping[int, float] = field(default_factory=dict)
    focal: float | None = None
    keeps_aspect: bool = False
    time_offsets: tuple[int, ...] = ()
    recipe: str | None = None

    def __post_init__(self) -> None:
        height, width = self.height, self.width
        if min(height, width) <= 0 or height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise ValueError(f"a network's size must be multiples of {SIZE_MULTIPLE}, got {height}x{width}")
        for metres in (self.metres_per_unit, *self.metres_of_width.values()):
            if metres is not None and not (math.isfinite(metres) and metres > 0):
                raise ValueError(f"metres per unit must be a positive number, got {metres}")


class Predictor(ABC):
    """A trained depth model, ready to use. `egodepth.load(MODEL)` returns one.

        model = egodepth.load("path/to/model")
        depth = model.predict_depth(image)      # (B, 3, H, W) in [0, 1] -> (B, 1, H, W)

    Pictures may have any size and shape: they are brought to the network's own size, and its answer is brought
    back. All arithmetic is in float32.

    Attributes:
        facts: what is known of the model; its height, width, focal length and so on are attributes, too.
        runtime: the engine that runs it.
    """

    runtime: Runtime

    def __init__(self, facts: ModelFacts) -> None:
        self.facts = facts

    height = property(lambda self: self.facts.height)
    width = property(lambda self: self.facts.width)
    metres_per_unit = property(lambda self: self.facts.metres_per_unit)
    metres_of_width = property(lambda self: self.facts.metres_of_width)
    focal = property(lambda self: self.facts.focal)
    keeps_aspect = property(lambda self: self.facts.keeps_aspect)
    time_offsets = property(lambda self: self.facts.time_offsets)
    recipe = property(lambda self: self.facts.recipe)

    @property
    def is_metric(self) -> bool:
        """Whether depths are metres. Where not, they are right up to one unknown factor."""
        return self.metres_per_unit is not None

    @property
    def unit(self) -> str:
        """The unit of depths, in words."""
        return "metres" if self.is_metric else "up to scale"

    @abstractmethod
    def to(self, device: str) -> Self:
        """Move the model to `device`, where PyTorch runs it, and return this predictor.

        Raises:
            UserError: the model cannot run there.
        """

    @abstractmethod
    def with_runtime(self, name: RuntimeName | None = None, pictures: int | None = None) -> "Predictor":
        """The same model run by another engine, whose name is then `runtime.name`; weights are shared.

        Args:
            name: None takes the fastest that is installed on the CPU, and PyTorch on any other device. Engines other
                than PyTorch take seconds to prepare and keep the weights as they are now.
            pictures: how many are to be predicted, where that is known: few are not worth a preparation.

        Raises:
            UserError: the engine is not installed, or not for this predictor's device.
        """

    @abstractmethod
    def _run(self, pixels: np.ndarray, units: Sequence[float]) -> Any:
        """Inverse depth (B, 1, height, width), in 1/metres where known, as whatever `_enlarged` takes.

        Args:
            pixels: (B, F, height, width, 3) uint8: each picture and its neighbours.
            units: length of a unit of depth in each picture.
        """

    @abstractmethod
    def _enlarged(self, inverse_depth: Any, height: int, width: int) -> np.ndarray:
        """The depth (height, width) of one picture of what `_run` gave, (1, h, w)."""

    @abstractmethod
    def _arrays(self, inverse_depth: Any) -> np.ndarray:
        """What `_run` gave, (B, 1, h, w), as an array."""

    @abstractmethod
    def predict_depth(
        self, image: "Images", neighbours: "Mapping[int, Images] | None" = None, camera: Camera | None = None
    ) -> "Images":
        """Predict the depth of every pixel.

        A picture of the network's own size goes in as it is. Any other is rounded to 8 bit, brought to the
        network's size by Lanczos resampling and its inverse depth enlarged bilinearly, which is exactly what
        `egodepth predict` and `egodepth evaluate` do with a picture file.

        Args:
            image: (B, 3, H, W) floating point, RGB in [0, 1], any height and width; an array, or a tensor on any
                device. Do not normalise it: that is the network's own affair.
            neighbours: for a network that looks at other frames too, those of its `time_offsets` that there are, each
                of the same shape: `{-1: previous}`. A black one is missing.
            camera: of these very pictures; `resize`, `crop` and `flip` of a `Camera` follow what was done to them. By
                it metres are right for cameras other than the training's; without it they are as if taken by that.

        Returns:
            (B, 1, H, W) float32 depth along the camera's axis, of the image's kind and on its device; metres where
            `metres_per_unit` is known, else up to scale.

        Raises:
            ValueError: another shape or type, values outside [0, 1], or a camera of pictures of another size.
            UserError: the model's answer is not a depth (its weights are damaged).
        """

    def fitted_to(self, height: int, width: int) -> Self:
        """The same model for pictures of this form: they are seen in it, where the model `keeps_aspect`, not squeezed.

        The weights are shared, not copied.
        """
        size = size_for(self.height, self.width, (height, width))
        if not self.keeps_aspect or size == (self.height, self.width):
            return self
        return self._with(height=size[0], width=size[1])

    def with_scale(self, metres_per_unit: float) -> Self:
        """The same model with another length of its unit of depth, at every width; the weights are shared.

        Raises:
            ValueError: the scale is not a positive number.
        """
        return self._with(metres_per_unit=metres_per_unit, metres_of_width={})

    def focal_ratio(self, camera: Camera | None) -> float:
        """How many times as long a camera's focal length is, in widths of its picture, as that of the training.

        Metres are multiplied by it (Metric3D, Yin et al., ICCV 2023, section 3.2). 1 where either is not known.
        """
        if camera is None or self.focal is None or not self.is_metric:
            return 1.0
        return float(camera.intrinsics[0, 0]) / camera.width / self.focal

    def predict_images(
        self,
        images: Sequence[np.ndarray],
        cameras: Sequence[Camera | None] | None = None,
        neighbours: Sequence[Mapping[int, np.ndarray]] | None = None,
    ) -> list[np.ndarray]:
        """Predict the depths of pictures, which may differ in size, as one batch.

        Args:
            images: (H, W, 3) uint8 RGB each.
            cameras: of the pictures, see `predict_depth`.
            neighbours: for each picture the frames of the network's `time_offsets` that there are.

        Returns:
            For each picture its depth, (H, W) float32, in metres where the scale is known.

        Raises:
            ValueError, UserError: as `predict_depth`.
        """
        sizes = [image.shape[:2] for image in images]
        return [enlarged() for enlarged in self.enlargements(images, sizes, neighbours, cameras)]

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

    def predict_inverse_depths(
        self, images: Sequence[np.ndarray], neighbours: Sequence[Mapping[int, np.ndarray]] | None = None
    ) -> np.ndarray:
        """`predict_inverse_depth` of a batch: B pictures of any sizes to (B, `height`, `width`) float32."""
        if not images:
            return np.zeros((0, self.height, self.width), np.float32)
        units = [self._unit_m(image.shape[:2]) for image in images]
        return self._arrays(self._run(self._network_input(images, neighbours), units))[:, 0]

    def enlargements(
        self,
        images: Sequence[np.ndarray],
        sizes: Sequence[tuple[int, int]],
        neighbours: Sequence[Mapping[int, np.ndarray]] | None = None,
        cameras: Sequence[Camera | None] | None = None,
        steady: Sequence[Join] | None = None,
    ) -> list[Callable[[], np.ndarray]]:
        """The depths of a batch, each at a size of its own; they are small until they are called for.

        Args:
            images, neighbours: as `predict_inverse_depths`; they may be smaller than the depths.
            sizes: height and width of each depth, those of the native pictures.
            cameras: of the native pictures, see `predict_depth`.
            steady: what joins each picture's inverse depth, at the network's size, with the one before, in order.

        Returns:
            What enlarges each depth, in whichever thread calls it, and brings it off the device: (H, W) float32, in
            metres where the scale is known.
        """
        if not images:
            return []
        units = [self._unit_m(*each) for each in zip(sizes, cameras or [None] * len(sizes), strict=True)]
        inverse_depths = self._run(self._network_input(images, neighbours), units)
        if steady is None:
            return [partial(self._enlarged, each, *size) for each, size in zip(inverse_depths, sizes, strict=True)]
        arrays = self._arrays(inverse_depths)[:, 0]
        return [
            partial(self.enlarge, join(self.reduce_image(image), inverse_depth), *size)
            for join, image, inverse_depth, size in zip(steady, images, arrays, sizes, strict=True)
        ]

    @staticmethod
    def enlarge(inverse_depth: np.ndarray, height: int, width: int) -> np.ndarray:
        """The depth (height, width) of an inverse depth (h, w), which is enlarged bilinearly."""
        if inverse_depth.shape == (height, width):
            return 1 / inverse_depth
        return 1 / np.asarray(Image.fromarray(inverse_depth).resize((width, height), Image.Resampling.BILINEAR))

    def reduce_image(self, image: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) uint8 at the network's size; one that has this size already is left alone.

        Whoever reads many large pictures calls this at once, so that only small ones are kept in memory.
        """
        if image.shape[:2] == (self.height, self.width):
            return image
        return resize_image(image, self.height, self.width)

    def _with(self, **changed: Any) -> Self:
        other = copy.copy(self)
        other.facts = replace(self.facts, **changed)
        return other

    def _network_input(
        self, images: Sequence[np.ndarray], neighbours: Sequence[Mapping[int, np.ndarray]] | None = None
    ) -> np.ndarray:
        """(H, W, 3) uint8 pictures of any sizes, each followed by its neighbours: (B, F, height, width, 3) uint8."""
        missing = np.zeros((self.height, self.width, 3), dtype=np.uint8)
        known = neighbours or [{}] * len(images)
        frames = [
            [image, *(around.get(offset, missing) for offset in self.time_offsets)]
            for image, around in zip(images, known, strict=True)
        ]
        for image in (each for group in frames for each in group):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise ValueError(f"expected pictures (H, W, 3) uint8, got {image.shape} {image.dtype}")
        return np.stack([np.stack([self.reduce_image(image) for image in group]) for group in frames])

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


def check_images(image: "Images", is_floating: bool) -> None:
    """Raises ValueError: not an image (B, 3, H, W) of floating-point numbers in [0, 1]."""
    if not is_floating:
        found = f"{image.dtype}" if hasattr(image, "dtype") else type(image).__name__
        raise ValueError(f"expected an image of floating-point numbers in [0, 1], got {found}")
    if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise ValueError(f"expected an image of shape (B, 3, H, W), got {tuple(image.shape)}")
    low, high = float(image.min()), float(image.max())
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise ValueError(
            f"expected RGB values in [0, 1], got {low:.3g} to {high:.3g}; divide 8-bit values by 255 and do "
            "not normalise by mean and deviation"
        )
