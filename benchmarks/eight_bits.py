"""SmallDepth in eight bits: how much faster than Monodepth2 as PyTorch runs it, and what it costs in accuracy.

    python benchmarks/eight_bits.py --pictures "STREET/*/*_sync/image_02/data/*.png" --kitti KITTI_2015 --out eight.json

Speed: at each size all contenders take short turns in shuffled order within each round, on a thread for each
processor; a ratio is the median over rounds of the two times of one round. Accuracy: the starter, its ranges found from
the pictures, by the protocol kitti-2015.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from egodepth.deployment.folder import export_folder
from egodepth.files import write_text
from egodepth.inference.engines import ONNXRuntime, OpenVINORuntime
from egodepth.inference.network_engines import TorchRuntime
from egodepth.models.evaluating import evaluate_model
from egodepth.models.released import ReleasedModel, deployed
from egodepth.recipes import RECIPES

SIZES = ((128, 416), (192, 640))
ROUNDS, TURN_S = 15, 0.15
FORMATS = ("openvino", "onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    starter = ReleasedModel.open("starter")
    result: dict = {"threads": torch.get_num_threads(), "speed": {}, "accuracy": {}}
    with tempfile.TemporaryDirectory() as made:
        for height, width in SIZES:
            contenders = {"monodepth2 eager": torch_engine(RECIPES["monodepth2"].network, height, width)}
            contenders["small-depth eager"] = torch_engine(RECIPES["small-depth"].network, height, width)
            for form in FORMATS:
                for bits in ("fp32", "int8"):
                    folder = Path(made) / f"{form}-{bits}-{height}"
                    data = [options.pictures] if bits == "int8" else []
                    export_folder(starter.predictor(), starter.config, folder, form, height, width, bits, data)
                    contenders[f"small-depth {form} {bits}"] = engine(folder, form, height, width)
            if OpenVINORuntime.has_bfloat16():
                folder = Path(made) / f"openvino-fp32-{height}"
                contenders["small-depth openvino bf16"] = engine(folder, "openvino", height, width, "bf16")
            result["speed"][f"{height}x{width}"] = measured(contenders)
        if options.kitti is not None:
            models = {"float": "starter"}
            for form in FORMATS:
                folder = Path(made) / f"{form}-kitti"
                size = starter.predictor().fitted_to(375, 1242)
                shape = size.height, size.width
                export_folder(starter.predictor(), starter.config, folder, form, *shape, "int8", [options.pictures])
                models[f"{form} int8"] = str(folder)
            for name, model in models.items():
                found = evaluate_model(model, options.kitti, "kitti-2015", scaling="median")
                result["accuracy"][name] = found.metrics["abs_rel"]
    print(json.dumps(result, indent=2))
    if options.out is not None:
        write_text(options.out, json.dumps(result, indent=2) + "\n")


def torch_engine(config, height: int, width: int) -> Callable[[], object]:
    """A network with random weights, as it is deployed, operation by operation."""
    network = deployed(config.build().eval(), config)
    runtime, image = TorchRuntime(network), torch.rand(1, 3, height, width)
    return lambda: runtime(image)


def engine(folder: Path, form: str, height: int, width: int, precision: str = "f32") -> Callable[[], object]:
    """An exported model in its engine."""
    image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    runtime = ONNXRuntime(folder / "model.onnx") if form == "onnx" else OpenVINORuntime(folder / "model.xml", precision)
    return lambda: runtime(image)


def measured(contenders: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Milliseconds of each, and how many times as fast it is as the first."""
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    shuffle = random.Random(0)
    for run in contenders.values():
        run()
    for _ in range(ROUNDS):
        for name in shuffle.sample(list(contenders), len(contenders)):
            calls, run = [], contenders[name]
            run()
            start = time.perf_counter()
            while time.perf_counter() - start < TURN_S or len(calls) < 3:
                before = time.perf_counter()
                run()
                calls.append(time.perf_counter() - before)
            rounds[name].append(statistics.median(calls))
    baseline = next(iter(rounds.values()))
    return {
        name: {
            "ms": 1000 * statistics.median(times),
            "times_as_fast": statistics.median(slow / fast for slow, fast in zip(baseline, times, strict=True)),
        }
        for name, times in rounds.items()
    }


if __name__ == "__main__":
    main()
