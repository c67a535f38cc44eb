"""A depth network, run by PyTorch on any of its devices."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.errors import UserError, first_line
from egodepth.geometry.cameras import Camera
from egodepth.inference.configurations import RuntimeName
from egodepth.inference.engines import ONNX_SUFFIX, RUNTIMES, Runtime, check_reads, check_runtime, device_type
from egodepth.inference.graph import exporter_is_installed, onnx_graph, require_exporter
from egodepth.inference.graph_predictor import GraphPredictor
from egodepth.inference.network_engines import TorchRuntime
from egodepth.inference.predictor import DAMAGED, ModelFacts, Predictor, check_images

log = logging.getLogger("egodepth")

WORTH_A_GRAPH = 500
"""So many pictures make up for the ten to twenty seconds in which a small network becomes a graph."""


class NetworkPredictor(Predictor):
    """A depth network, ready to use. No gradients are kept.

    Attributes:
        network: the depth network, in evaluation mode, on `device`.
        device: where the network runs.
    """

    def __init__(self, network: nn.Module, facts: ModelFacts, device: torch.device | str = "cpu") -> None:
        """Take over `network`: it is put into evaluation mode and moved to `device` as float32.

        Args:
            facts: of the model; which frames it looks at is the network's to say.
        """
        super().__init__(replace(facts, time_offsets=getattr(network, "time_offsets", ())))
        self.network = network.eval()
        self.to(device)

    def to(self, device: torch.device | str) -> Self:
        self.device = torch.device(device)
        self.network.to(device=self.device, dtype=torch.float32)
        self.runtime: Runtime = TorchRuntime(self.network)
        return self

    def with_runtime(self, name: RuntimeName | None = None, pictures: int | None = None) -> Predictor:
        """See `Predictor.with_runtime`. ONNX Runtime and OpenVINO run a graph of the network, made here."""
        if name is not None:
            record = check_runtime(name, str(self.device))
            if record.takes == "network":
                return self._with_engine(record.open(self.network))
            check_reads(name, ONNX_SUFFIX)  # before seconds of work
            return self._as_graph(name)
        few = pictures is not None and pictures < WORTH_A_GRAPH
        runnable = any(ONNX_SUFFIX in record.reads and not record.absence("cpu") for record in RUNTIMES.values())
        if few or device_type(str(self.device)) != "cpu" or not (runnable and exporter_is_installed()):
            return self._with_engine(TorchRuntime(self.network))
        try:
            return self._as_graph(None)
        except Exception as error:  # another version of PyTorch may export less than ours does
            log.warning("this model makes no graph (%s); PyTorch runs it.", first_line(error))
            return self._with_engine(TorchRuntime(self.network))

    def graph(self) -> bytes:
        """The network as an ONNX graph, with depth in the network's units.

        Raises:
            UserError: what makes graphs is not installed.
        """
        require_exporter()
        return onnx_graph(copy.deepcopy(self.network).cpu(), self.height, self.width, any_size=self.keeps_aspect)

    def _as_graph(self, name: RuntimeName | None) -> GraphPredictor:
        return GraphPredictor(self.graph(), self.facts).with_runtime(name)

    def _with_engine(self, runtime: Runtime) -> Self:
        other = copy.copy(self)
        other.runtime = runtime
        return other

    @torch.inference_mode()
    def predict_depth(
        self,
        image: Tensor | np.ndarray,
        neighbours: Mapping[int, Tensor | np.ndarray] | None = None,
        camera: Camera | None = None,
    ) -> Tensor | np.ndarray:
        """See `Predictor.predict_depth`."""
        if isinstance(image, np.ndarray):
            around = {offset: torch.from_numpy(each) for offset, each in (neighbours or {}).items()}
            return self.predict_depth(torch.from_numpy(image), around, camera).numpy()
        inputs = self._as_input(image)
        height, width = image.shape[-2:]
        units = [self._unit_m((height, width), camera)] * len(image)
        known = neighbours or {}
        others = [
            self._as_input(known[offset]) if offset in known else torch.zeros_like(inputs)
            for offset in self.time_offsets
        ]
        inverse_depth = self._inverse_depth(torch.cat([inputs, *others], dim=1), units)
        return _enlarge(inverse_depth, height, width).reciprocal().to(image.device)

    def _as_input(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) at the network's size, on its device."""
        check_images(image, isinstance(image, Tensor) and image.is_floating_point())
        if image.shape[-2:] == (self.height, self.width):
            return image.to(self.device, torch.float32).clamp(0, 1)
        return self._on_device(np.stack([self.reduce_image(_to_8_bit(each)) for each in image]))

    @torch.inference_mode()
    def _run(self, pixels: np.ndarray, units: Sequence[float]) -> Tensor:
        frames = [self._on_device(pixels[:, place]) for place in range(pixels.shape[1])]
        return self._inverse_depth(torch.cat(frames, dim=1) if len(frames) > 1 else frames[0], units)

    @torch.inference_mode()
    def _enlarged(self, inverse_depth: Tensor, height: int, width: int) -> np.ndarray:
        return _enlarge(inverse_depth[None], height, width)[0, 0].reciprocal().cpu().numpy()

    def _arrays(self, inverse_depth: Tensor) -> np.ndarray:
        return inverse_depth.cpu().numpy()

    def _on_device(self, pixels: np.ndarray) -> Tensor:
        """(B, h, w, 3) uint8 to (B, 3, h, w) float on the device."""
        return torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() / 255

    def _inverse_depth(self, inputs: Tensor, units: Sequence[float]) -> Tensor:
        """Stacked pictures (B, 3 F, height, width) to inverse depth (B, 1, height, width), in 1/metres where known."""
        depth = self.runtime(inputs)
        if not bool((depth > 0).all()):  # NaN fails this too
            raise UserError(DAMAGED)
        return (depth * depth.new_tensor(units)[:, None, None, None]).reciprocal()


def _to_8_bit(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] on any device to (H, W, 3) uint8, rounded to the nearest."""
    levels = image.float().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().numpy()


def _enlarge(inverse_depth: Tensor, height: int, width: int) -> Tensor:
    if inverse_depth.shape[-2:] == (height, width):
        return inverse_depth
    reduces = height < inverse_depth.shape[-2] or width < inverse_depth.shape[-1]
    return F.interpolate(inverse_depth, (height, width), mode="bilinear", align_corners=False, antialias=reduces)
