"""Peak memory of a prediction, measured where nothing else has been: in a process of its own, or on the GPU."""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.inference.engines import RUNTIMES, Runtime, RuntimeRecord

PREDICTIONS = 3
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMORY = Path("/proc/meminfo")

MEANING = {
    "cpu": "growth of a fresh process's resident set by the model and its predictions at batch 1, without libraries",
    "cuda": "PyTorch's peak allocation on the GPU by the model and its predictions at batch 1",
}


def peak_on_cpu(engine: str, model: bytes, height: int, width: int, channels_last: bool) -> int | None:
    """Bytes by which a fresh process grows when it opens a model and predicts single pictures.

    Args:
        engine: `eager`, `compile`, `onnx`, `openvino` or `openvino-bf16`.
        model: an ONNX graph, or a pickled network for PyTorch's engines.

    Returns:
        None where the system does not tell (it is Linux that does), or the process fails.
    """
    if not STATUS.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model"
        file.write_bytes(model)
        arguments = [engine, str(file), str(height), str(width), str(int(channels_last)), str(torch.get_num_threads())]
        command = [sys.executable, "-m", "egodepth.inference.peak_memory", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(result.stdout.split()[-1]) if result.returncode == 0 else None


def peak_on_cuda(open_engine: Callable[[], Runtime], image: Tensor) -> tuple[Runtime, int]:
    """A newly opened engine, and the bytes that PyTorch allocates on the GPU for its model and predictions at most."""
    torch.cuda.synchronize(image.device)
    before = torch.cuda.memory_allocated(image.device)
    torch.cuda.reset_peak_memory_stats(image.device)
    engine = open_engine()
    for _ in range(PREDICTIONS):
        engine(image)
    torch.cuda.synchronize(image.device)
    return engine, torch.cuda.max_memory_allocated(image.device) - before


def runtime_of(engine: str) -> RuntimeRecord:
    """The record of an engine; in measurements PyTorch as it is goes by the name of `eager`."""
    return RUNTIMES["torch" if engine == "eager" else engine]


def resident(field: str) -> int:
    """VmRSS, the memory that is resident now, or VmHWM, the most that was, in bytes."""
    return _bytes_of(STATUS, field)


def available_memory() -> int:
    """Bytes that processes may still take, those that hold copies of files among them."""
    if MEMORY.is_file():
        return _bytes_of(MEMORY, "MemAvailable")
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _bytes_of(file: Path, field: str) -> int:
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def _measure(engine: str, file: Path, height: int, width: int, channels_last: bool, threads: int) -> int:
    torch.set_num_threads(threads)
    if engine == "onnx":
        import onnxruntime  # noqa: F401, its memory is not the model's
    if engine.startswith("openvino"):
        import openvino

        openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    else:
        F.conv2d(torch.zeros(1, 8, 32, 32), torch.zeros(8, 8, 3, 3))  # sets PyTorch's kernel library up
    record, before = runtime_of(engine), resident("VmRSS")

    def opened() -> Callable[[Tensor], object]:
        if record.takes == "graph":
            engine = record.open(file.read_bytes())
            return lambda images: engine(images.numpy())
        # Written by `peak_on_cpu` a moment ago, so nothing foreign is unpickled.
        network = torch.load(io.BytesIO(file.read_bytes()), weights_only=False)
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        return record.open(network, memory_format)

    runtime, image = opened(), torch.rand(1, 3, height, width)
    runtime(image)
    CLEAR.write_text("5")  # forget what opening took and gave back
    for _ in range(PREDICTIONS):
        runtime(image)
    return resident("VmHWM") - before


if __name__ == "__main__":
    name, path, *numbers = sys.argv[1:]
    rows, columns, last, cores = map(int, numbers)
    print(_measure(name, Path(path), rows, columns, bool(last), cores))
