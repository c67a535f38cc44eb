"""One model in the engines of its exported folders: time on the clock, and of the processor.

    for form in onnx openvino ncnn litert executorch; do
        egodepth export starter $form --format $form --height 128 --width 416
    done
    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.engines onnx openvino ncnn litert executorch --out engines.json

Batch 1, in turns: every round each folder gets five calls after one that is not counted, in shuffled order. Processor
time leaves out what others took meanwhile; on one thread of an idle machine it is the time on the clock.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from egodepth.files import write_text
from egodepth.inference.engines import RUNTIMES, suffix_of
from egodepth.models.opening import graph_of

ROUNDS, CALLS = 30, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures = json.dumps(measured(dict(map(opened, options.folders))), indent=2)
    print(figures)
    if options.out is not None:
        write_text(options.out, figures + "\n")


def opened(folder: str) -> tuple[str, Callable[[], object]]:
    """A folder's model in the first engine that reads it: the engine's name, and a call on random pixels."""
    model = graph_of(folder)
    name = next(name for name, record in RUNTIMES.items() if suffix_of(model.graph) in record.reads)
    runtime = model.with_runtime(name).runtime
    image = np.random.default_rng(0).random((1, 3, model.height, model.width), np.float32)
    return name, lambda: runtime(image)


def measured(runs: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Milliseconds of a call by the clock and of the processor, medians over rounds."""
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    shuffle = random.Random(0)
    for _ in range(ROUNDS):
        for name in shuffle.sample(list(runs), len(runs)):
            runs[name]()
            clock, processor = time.perf_counter(), time.process_time()
            for _ in range(CALLS):
                runs[name]()
            taken = time.perf_counter() - clock, time.process_time() - processor
            rounds[name].append((1000 * taken[0] / CALLS, 1000 * taken[1] / CALLS))
    return {
        name: dict(zip(("clock_ms", "processor_ms"), map(statistics.median, zip(*figures, strict=True)), strict=True))
        for name, figures in rounds.items()
    }


if __name__ == "__main__":
    main()
