"""Measuring what a depth model asks of a machine."""

import copy
import io
import statistics
import time
from contextlib import suppress

import torch
from torch import nn

from egodepth.costs import Cost
from egodepth.inference.peak_memory import CLEAR, STATUS, peak_on_cpu, peak_on_cuda, resident

TIMED_CALLS = 5


def said_of(device: torch.device) -> str:
    """A device as costs name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, threads: {torch.get_num_threads()}"


def cost_of(network: nn.Module, height: int, width: int) -> Cost:
    """The cost of a network that has `predict_depth`, with single pictures, in PyTorch, on the device that it is on."""
    device = next(network.parameters()).device
    picture = torch.rand(1, 3, height, width, device=device)
    megabytes = sum(each.numel() * each.element_size() for each in network.state_dict().values()) / 1e6
    with torch.inference_mode():
        network.predict_depth(picture)
        seconds = statistics.median(_seconds(network, picture) for _ in range(TIMED_CALLS))
        if device.type == "cuda":
            # A copy, for what training holds beside the network is none of its cost.
            _, memory = peak_on_cuda(lambda: copy.deepcopy(network).predict_depth, picture)
        else:
            memory = _on_cpu(network, height, width)
    return Cost(said_of(device), megabytes, seconds, None if memory is None else memory / 1e6)


class CostWatch:
    """Watch a model of any make at work in this process, from before it is opened.

    Args:
        device: that the model will be on.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds: list[float] = []
        self._before = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif STATUS.is_file():
            with suppress(OSError):  # a container may forbid it; then nobody knows
                CLEAR.write_text("5")  # or what this process did before would count
                self._before = resident("VmRSS")

    def took(self, seconds: float) -> None:
        """Count a picture that took so long."""
        self._seconds.append(seconds)

    def cost(self, weights_bytes: int) -> Cost | None:
        """What was seen; None before the first picture."""
        if not self._seconds:
            return None
        memory = None
        if self.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.device)
        elif self._before is not None:
            memory = max(0, resident("VmHWM") - self._before)
        megabytes = None if memory is None else memory / 1e6
        return Cost(said_of(self.device), weights_bytes / 1e6, statistics.median(self._seconds), megabytes)


def _seconds(network: nn.Module, picture: torch.Tensor) -> float:
    began = time.perf_counter()
    network.predict_depth(picture)
    if picture.is_cuda:
        torch.cuda.synchronize(picture.device)
    return time.perf_counter() - began


def _on_cpu(network: nn.Module, height: int, width: int) -> int | None:
    buffer = io.BytesIO()
    torch.save(network, buffer)
    return peak_on_cpu("eager", buffer.getvalue(), height, width, channels_last=False)
