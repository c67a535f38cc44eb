"""Samples per second of training data from an object store: a pack fetched part by part, WebDataset and litdata.

    pip install webdataset==1.0.2 litdata==0.2.76
    python benchmarks/streaming.py [--samples 480] [--workers 0] [--json FILE]

The store is moto's on loopback, in a process of its own. Frames are noise of 192x640, which no codec makes smaller;
samples are three neighbours of a video. A pack keeps each frame once; the two libraries keep samples, each with all
its frames. Each way is read through PyTorch's loader into batches of 4: the first epoch has to fetch, later ones have
what was kept, and the best of them counts. `local` are the pack's files on this machine. The ways take turns, and
every way's samples are held against the frames.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.request import urlopen

import fsspec
import numpy as np
import torch
from torch import Tensor

from egodepth.data.loading import StepSampler, make_loader
from egodepth.data.packs.reading import PackOptions, open_pack
from egodepth.data.packs.remote import stand_in
from egodepth.data.packs.writing import pack
from egodepth.data.samples import Sample

HEIGHT, WIDTH, BATCH = 192, 640, 4
PART_BYTES = 32 * 2**20
"""Smaller than a pack's own, so that a short run has several; those of the libraries have as many bytes."""

EPOCHS = 4

Epoch = Callable[[int], Iterable[Tensor]]
"""The targets of an epoch, in batches."""


class Noise:
    """Neighbours of a video of noise (a `TrainingDataset`)."""

    source_ids = (-1, 1)

    def __init__(self, samples: int) -> None:
        self.frames = torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, (samples + 2, 3, HEIGHT, WIDTH), np.uint8)
        )

    def __len__(self) -> int:
        return len(self.frames) - 2

    def __getitem__(self, index: int) -> Sample:
        sources = torch.stack([self.frames[index], self.frames[index + 2]])
        return Sample(f"noise/{index:06d}", self.frames[index + 1], sources, torch.eye(3))

    def views(self, index: int) -> np.ndarray:
        return self.frames[[index + 1, index, index + 2]].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=480)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    noise = Noise(arguments.samples)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["EGODEPTH_CACHE"] = str(place / "cache")
        server = started_store()
        try:
            files = fsspec.filesystem("s3", use_listings_cache=False)
            files.mkdir("bench")
            ways = (local, parts, webdataset, litdata)
            epochs = {way.__name__: way(noise, place, files, arguments.workers) for way in ways}
            rows = {name: [] for name in epochs}
            for number in range(EPOCHS):
                for name, epoch in epochs.items():
                    rows[name].append(measured(epoch, number, noise))
            for name, (first, *later) in rows.items():
                print(f"{name:12} first {first:7.1f}/s  later {max(later):7.1f}/s", flush=True)
        finally:
            server.terminate()
            server.wait()
    if arguments.json is not None:
        result = {"samples": arguments.samples, "workers": arguments.workers, "rows": rows}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def measured(epoch: Epoch, number: int, noise: Noise) -> float:
    """Samples per second of an epoch, of which each sample has to come once."""
    start = time.perf_counter()
    seen = [int(target[0, 0, 0]) << 16 | int(target[0, 0, 1]) << 8 | int(target[0, 0, 2])
            for batch in epoch(number) for target in batch]  # fmt: skip
    seconds = time.perf_counter() - start
    expected = [int(f[0, 0, 0]) << 16 | int(f[0, 0, 1]) << 8 | int(f[0, 0, 2]) for f in noise.frames[1:-1]]
    if sorted(seen) != sorted(expected):
        sys.exit(f"epoch {number}: {len(seen)} samples of {len(expected)}, or others")
    return len(seen) / seconds


# --- the ways ---------------------------------------------------------------------------------------------------------


def local(noise: Noise, place: Path, files: fsspec.AbstractFileSystem, workers: int) -> Epoch:
    options = PackOptions((-1, 1), HEIGHT, WIDTH)
    (place / "source").mkdir()
    pack(place / "pack", [place / "source"], noise, None, options, part_bytes=PART_BYTES)
    return of_pack(place / "pack", options, workers)


def parts(noise: Noise, place: Path, files: fsspec.AbstractFileSystem, workers: int) -> Epoch:
    files.put(str(place / "pack"), "bench/pack", recursive=True)
    return of_pack(stand_in(Path("s3://bench/pack")), PackOptions((-1, 1), HEIGHT, WIDTH), workers)


def of_pack(folder: Path, options: PackOptions, workers: int) -> Epoch:
    dataset = open_pack(folder, options).training

    def epoch(number: int) -> Iterable[Tensor]:
        steps = len(dataset) // BATCH
        sampler = StepSampler(len(dataset), BATCH, 0, number * steps, (number + 1) * steps, parts=dataset.parts)
        return (batch.target for batch in make_loader(dataset, sampler, workers))

    return epoch


def webdataset(noise: Noise, place: Path, files: fsspec.AbstractFileSystem, workers: int) -> Epoch:
    import webdataset as wds

    (place / "wds").mkdir()
    (place / "wds-cache").mkdir()
    with wds.ShardWriter(str(place / "wds" / "%05d.tar"), maxsize=PART_BYTES, verbose=0) as sink:
        for index in range(len(noise)):
            sink.write({"__key__": f"{index:06d}", "views.npy": noise.views(index)})
    files.put(str(place / "wds"), "bench/wds", recursive=True)
    files.chmod("bench/wds", "public-read", recursive=True)  # it reads by curl, without a signature
    count = len(list((place / "wds").glob("*.tar")))
    urls = [f"{os.environ['AWS_ENDPOINT_URL']}/bench/wds/{number:05d}.tar" for number in range(count)]

    def epoch(number: int) -> Iterable[Tensor]:
        dataset = (
            wds.WebDataset(urls, shardshuffle=count, seed=number, cache_dir=str(place / "wds-cache"), empty_check=False)
            .shuffle(200)
            .decode()
            .to_tuple("views.npy")
        )
        loader = torch.utils.data.DataLoader(dataset, BATCH, num_workers=workers)
        return (views[:, 0] for [views] in loader)

    return epoch


def litdata(noise: Noise, place: Path, files: fsspec.AbstractFileSystem, workers: int) -> Epoch:
    import litdata as ld

    ld.optimize(noise.views, list(range(len(noise))), str(place / "lit"), chunk_bytes=PART_BYTES, num_workers=1)
    files.put(str(place / "lit"), "bench/lit", recursive=True)
    dataset = ld.StreamingDataset(
        "s3://bench/lit",
        cache_dir=str(place / "lit-cache"),
        shuffle=True,
        seed=0,
        storage_options={"endpoint_url": os.environ["AWS_ENDPOINT_URL"]},
    )
    loader = ld.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers)
    return lambda number: (torch.as_tensor(views)[:, 0] for views in loader)


def started_store() -> subprocess.Popen:
    """moto's server, with the environment that leads to it."""
    port = 5700 + os.getpid() % 200
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            urlopen(os.environ["AWS_ENDPOINT_URL"]).close()
        except OSError:
            time.sleep(0.1)
        else:
            return server
    sys.exit("moto's server does not start")


if __name__ == "__main__":
    main()
