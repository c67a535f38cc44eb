"""Frames per second of `egodepth predict --format png16` on a video, beside what each of its parts takes alone.

    python benchmarks/throughput.py VIDEO [--frames 200] [--json FILE]

All parts take turns on the same frames; a part's time is the median of its rounds. Packing is measured as Pillow does
it, too. Decoding, the network and packing run beside each other in `predict`, as far as there are processors.
"""

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

import egodepth
from egodepth.data.footage.video import Cut, read_video
from egodepth.files import write_text
from egodepth.inference.predict import predict
from egodepth.inference.writers import png16_steps
from egodepth.png import encode_png

ROUNDS = 3
BATCH = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        part = first_frames(options.video, Path(folder) / "part.mp4", options.frames)
        found = measured(part, Path(folder))
    found |= {"processor": platform.processor() or platform.machine(), "threads": len(os.sched_getaffinity(0))}
    print(json.dumps(found, indent=2))
    if options.json is not None:
        write_text(options.json, json.dumps(found, indent=2) + "\n")


def first_frames(video: Path, part: Path, count: int) -> Path:
    """The first frames of a video as they are coded."""
    with av.open(str(video)) as source, av.open(str(part), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in islice(source.demux(video=0), count):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return part


def measured(video: Path, folder: Path) -> dict[str, float]:
    """Milliseconds a frame of each part, and frames per second of the whole."""
    frames = [each.pixels for each in read_video(video) if not isinstance(each, Cut)]
    predictor = egodepth.load("starter").with_runtime(None, len(frames)).fitted_to(*frames[0].shape[:2])
    reduced = [predictor.reduce_image(frame) for frame in frames]
    steps = [png16_steps(depth) for depth in predict_all(predictor, reduced[:BATCH], frames[0].shape[:2])]

    def whole() -> None:
        predict(egodepth.load("starter"), [video], folder / "out", "png16", progress=False)

    parts: dict[str, tuple[Callable[[], object], int]] = {
        "decoding": (lambda: sum(1 for _ in read_video(video)), len(frames)),
        "reducing": (lambda: [predictor.reduce_image(frame) for frame in frames[:20]], 20),
        "network": (lambda: predict_all(predictor, reduced[:40], reduced[0].shape[:2]), 40),
        "network and enlarging": (lambda: predict_all(predictor, reduced[:40], frames[0].shape[:2]), 40),
        "packing": (lambda: [encode_png(each) for each in steps], len(steps)),
        "packing by Pillow": (lambda: [by_pillow(each) for each in steps], len(steps)),
        "predict": (whole, len(frames)),
    }
    rounds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, (call, count) in parts.items():
            began = time.perf_counter()
            call()
            rounds[name].append(1000 * (time.perf_counter() - began) / count)
    found = {f"{name}, ms": round(statistics.median(each), 2) for name, each in rounds.items()}
    ratio = statistics.median(
        old / new for old, new in zip(rounds["packing by Pillow"], rounds["packing"], strict=True)
    )
    whole_ms = found["predict, ms"]
    return found | {
        "frames": len(frames),
        "frames per second": round(1000 / whole_ms, 1),
        "of the network's own": round(found["network, ms"] / whole_ms, 3),
        "packing, times as fast as Pillow": round(ratio, 1),
    }


def predict_all(predictor: object, images: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    depths = []
    for place in range(0, len(images), BATCH):
        batch = images[place : place + BATCH]
        depths += [enlarged() for enlarged in predictor.enlargements(batch, [size] * len(batch))]
    return depths


def by_pillow(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=2)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
