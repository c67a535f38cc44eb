"""A depth model as an ONNX graph, run without PyTorch."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.inference.configurations import RuntimeName
from egodepth.inference.engines import Graph, Runtime, open_graph
from egodepth.inference.predictor import DAMAGED, ModelFacts, Predictor, check_images

if TYPE_CHECKING:
    from egodepth.inference.predictor import Images


class GraphPredictor(Predictor):
    """A model as a graph, image (B, 3 F, H, W) to depth (B, 1, H, W), ready to use.

    Args:
        graph: the bytes of an ONNX file, or a file of OpenVINO.
        facts: of the model; its size is the graph's, which takes any other where it `keeps_aspect`.
        unit: length, in the network's units, of the unit in which the graph gives depth; others than 1 where metres are
            built into it.
    """

    def __init__(self, graph: Graph, facts: ModelFacts, unit: float = 1.0) -> None:
        super().__init__(facts)
        self.graph = graph
        self._unit = unit
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        """The engine; the fastest that is installed, unless `with_runtime` chose another."""
        if self._runtime is None:
            self._runtime = open_graph(self.graph, None)
        return self._runtime

    def as_said_by(self, facts: ModelFacts) -> Self:
        """The same graph with another scale and camera; size, form and frames are the graph's own."""
        own = self.facts
        return self._with(
            metres_per_unit=facts.metres_per_unit,
            metres_of_width=facts.metres_of_width,
            focal=facts.focal,
            recipe=facts.recipe or own.recipe,
        )

    def to(self, device: str) -> Self:
        if str(device) != "cpu":
            raise UserError(f"--device {device}: an exported model runs on the CPU. Give the model itself, or cpu.")
        return self

    def with_runtime(self, name: RuntimeName | None = None, pictures: int | None = None) -> Self:
        other = copy.copy(self)
        other._runtime = open_graph(self.graph, name, pictures)
        return other

    def predict_depth(
        self, image: "Images", neighbours: "Mapping[int, Images] | None" = None, camera: Camera | None = None
    ) -> "Images":
        """See `Predictor.predict_depth`."""
        if not isinstance(image, np.ndarray) and hasattr(image, "cpu"):
            import torch

            around = {offset: each.cpu().numpy() for offset, each in (neighbours or {}).items()}
            depth = self.predict_depth(image.detach().cpu().numpy(), around, camera)
            return torch.from_numpy(depth).to(image.device)
        inputs = self._as_input(image)
        height, width = image.shape[-2:]
        units = [self._unit_m((height, width), camera)] * len(image)
        known = neighbours or {}
        others = [
            self._as_input(known[offset]) if offset in known else np.zeros_like(inputs) for offset in self.time_offsets
        ]
        inverse_depth = self._inverse_depth(np.concatenate([inputs, *others], axis=1), units)
        return np.stack([self._enlarged(each, height, width)[None] for each in inverse_depth])

    def _as_input(self, image: np.ndarray) -> np.ndarray:
        """Images (B, 3, H, W) at the graph's size."""
        check_images(image, isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating))
        if image.shape[-2:] == (self.height, self.width):
            return image.astype(np.float32).clip(0, 1)
        levels = (image.astype(np.float32).clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
        return _floats(np.stack([self.reduce_image(each) for each in levels]))

    def _run(self, pixels: np.ndarray, units: Sequence[float]) -> np.ndarray:
        frames = [_floats(pixels[:, place]) for place in range(pixels.shape[1])]
        return self._inverse_depth(np.concatenate(frames, axis=1) if len(frames) > 1 else frames[0], units)

    def _inverse_depth(self, inputs: np.ndarray, units: Sequence[float]) -> np.ndarray:
        depth = self.runtime(inputs)
        if not (depth > 0).all():  # NaN fails this too
            raise UserError(DAMAGED)
        return 1 / (depth * (self._unit * np.array(units, np.float32))[:, None, None, None].astype(np.float32))

    def _enlarged(self, inverse_depth: np.ndarray, height: int, width: int) -> np.ndarray:
        return self.enlarge(inverse_depth[0], height, width)

    def _arrays(self, inverse_depth: np.ndarray) -> np.ndarray:
        return inverse_depth


def _floats(pixels: np.ndarray) -> np.ndarray:
    """(B, h, w, 3) uint8 to (B, 3, h, w) float32."""
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
