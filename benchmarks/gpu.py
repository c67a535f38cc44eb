"""All that is to be measured on the day that a GPU is at hand, in under nine minutes.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --device cpu --small          # the script itself, anywhere

Parts, each with its own share of the time; a part that fails says why and the others go on:

- parity: every kind of network gives on the device the depth that it gives on the processor;
- speed: frames per second of SmallDepth and others against Monodepth2, eager, compiled and captured, at batch 1 and at
  the best batch, and peak memory;
- training: images per second of Monodepth2's and SmallDepth's step, in full precision and in bfloat16;
- devices: with two or more, the same training on two;
- TensorRT: frames per second of an exported SmallDepth, where trtexec is installed.

Correctness beyond parity is `pytest -m gpu`.
"""

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.writer import simulate
from egodepth.errors import first_line
from egodepth.files import write_text
from egodepth.inference.configurations import BenchmarkConfig
from egodepth.models.benchmarking import benchmark_models
from egodepth.models.released import deployed
from egodepth.recipes import RECIPES

BUDGET_S = 520
SPEED_MODELS = ("small-depth", "dna-depth-b0", "diffnet")
TRAINED = ("monodepth2", "small-depth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes and few steps, to try the script")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu.py: there is no GPU that PyTorch sees. Try the script with --device cpu --small.")
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "parity": parity,
        "training": training,
        "devices": devices,
        "speed": speed,
        "tensorrt": tensorrt,
    }
    result: dict[str, Any] = {"device": device_name(options.device), "torch": torch.__version__}
    start = time.monotonic()
    for name, part in parts.items():
        began = time.monotonic()
        if began - start > BUDGET_S:
            result[name] = "left out: the time is used up"
            continue
        try:
            result[name] = part(options)
        except Exception as error:  # one part that fails takes nothing from the others
            traceback.print_exc()
            result[name] = f"failed: {first_line(error)}"
        result[f"{name}_s"] = round(time.monotonic() - began, 1)
        print(f"{name}: {json.dumps(result[name])}", flush=True)
        if options.out is not None:
            write_text(options.out, json.dumps(result, indent=2) + "\n")


def device_name(device: str) -> str:
    """The name of a GPU, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def parity(options: argparse.Namespace) -> dict[str, float]:
    """Largest relative difference of depth between the device and the processor, for each kind of network."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    kinds: dict[type, str] = {}
    for name, recipe in RECIPES.items():
        kinds.setdefault(type(recipe.network), name)
    names = ("monodepth2", "small-depth") if options.small else tuple(kinds.values())
    found = {}
    for name in names:
        recipe = RECIPES[name]
        if recipe.network.multi_frame:
            continue
        torch.manual_seed(0)
        network = deployed(recipe.sized_network.build().eval(), recipe.sized_network)
        size = (64, 96) if options.small else (recipe.height, recipe.width)
        image = torch.rand(2, 3, *size)
        with torch.inference_mode():
            expected = network.predict_depth(image)
            depth = network.to(options.device).predict_depth(image.to(options.device)).cpu()
        found[name] = float((depth / expected - 1).abs().max())
    return found


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Each engine's frames per second, as the benchmark command measures them."""
    engines = ("eager", "compile", "cuda-graph") if options.device.startswith("cuda") else ("eager",)
    if options.small:
        config = BenchmarkConfig(64, 96, batch_size=2, rounds=2, engines=engines, device=options.device)
        return benchmark_models(SPEED_MODELS[:1], "monodepth2", config, progress=False).to_json()
    config = BenchmarkConfig(192, 640, batch_size=64, rounds=5, engines=engines, device=options.device)
    return benchmark_models(SPEED_MODELS, "monodepth2", config, progress=False).to_json()


def training(options: argparse.Namespace) -> dict[str, float]:
    """Images per second of a training step, loading and all, by recipe and precision."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        drive = street(Path(folder), options)
        for recipe in TRAINED[: 1 if options.small else None]:
            for precision in ("32-true", "bf16-mixed"):
                run = Path(folder) / f"{recipe}-{precision}"
                found[f"{recipe} {precision}"] = trained(recipe, drive, run, options, "--precision", precision)
    return found


def devices(options: argparse.Namespace) -> dict[str, float] | str:
    """The same on two devices: images per second of both together."""
    if not options.device.startswith("cuda") or torch.cuda.device_count() < 2:
        return "left out: there are not two GPUs"
    with tempfile.TemporaryDirectory() as folder:
        drive = street(Path(folder), options)
        each = trained("monodepth2", drive, Path(folder) / "two", options, "--devices", "2")
    return {"monodepth2 on two": 2 * each}


def street(folder: Path, options: argparse.Namespace) -> Path:
    """A simulated drive to train on."""
    frames = 12 if options.small else 60
    size = (64, 96) if options.small else (192, 640)
    return simulate(folder / "street", SimulatorConfig(frames=frames, height=size[0], width=size[1]), progress=False)


def trained(recipe: str, drive: Path, run: Path, options: argparse.Namespace, *more: str) -> float:
    """Images per second of a short training by the command, in the second half of its steps."""
    size = ("64", "96") if options.small else ("192", "640")
    steps, batch = ("4", "2") if options.small else ("60", "12")
    command = [
        *(sys.executable, "-m", "egodepth", "train", recipe, str(drive), "--out", str(run), "--pretrained", "none"),
        *("--mode", "stereo", "--height", size[0], "--width", size[1], "--batch-size", batch, "--steps", steps),
        *("--log-every", "1", *more),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError((result.stderr.strip() or "training failed").splitlines()[-1])
    speeds = []
    for file in sorted((run / "logs").rglob("metrics.csv")):
        with file.open(newline="") as rows:
            speeds += [float(row["images_per_second"]) for row in csv.DictReader(rows) if row.get("images_per_second")]
    return sum(speeds[len(speeds) // 2 :]) / max(1, len(speeds) - len(speeds) // 2)


def tensorrt(options: argparse.Namespace) -> dict[str, float] | str:
    """Frames per second of an exported SmallDepth by TensorRT, in half precision."""
    if shutil.which("trtexec") is None:
        return "left out: trtexec is not installed"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        command = [
            sys.executable,
            "-m",
            "egodepth",
            "export",
            "starter",
            str(file),
            "--height",
            "192",
            "--width",
            "640",
        ]
        subprocess.run(command, check=True)
        words = ["trtexec", f"--onnx={file}", "--fp16", "--shapes=image:1x3x192x640"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {"small-depth fp16": float(re.search(r"Throughput: ([\d.]+) qps", said)[1])}


if __name__ == "__main__":
    main()
