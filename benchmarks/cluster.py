"""What a Ray cluster does with many short clips: one process, one node, two, and two of which a worker is killed.

    python benchmarks/cluster.py [--clips 1000] [--store s3] [--json FILE]

Each way is the real command, `egodepth predict --runtime onnx --format npy` with the starter, in a process of its own,
on clips of three to five frames of 64x48 pixels. Nodes are Ray's, of one processor each, on this machine. Every file
has to be there once and be the one process's, byte for byte. Seconds are from start to end, with those in which workers
start and open the model; clips per second are without them, from the times at which clips were done. The worker is
killed when half of the clips are done.
"""

import argparse
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import av
import fsspec
import numpy as np

from egodepth.cluster.predicting import OBJECT_STORE_BYTES, SHORT_FOLDER

HEIGHT, WIDTH = 48, 64
FRAMES = (3, 4, 5)
DISTINCT = 21
"""Clips that are encoded; the others are copies of them."""

WAYS = {"one process": None, "one node": 1, "two nodes": 2, "two nodes, a worker killed": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--store", choices=("local", "s3"), default="local", help="s3: moto's server on loopback")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, store(arguments.store, Path(folder)) as (clips, out):
        write_clips(Path(folder) / "clips", arguments.clips)
        if arguments.store == "s3":
            fsspec.filesystem("s3").put(f"{folder}/clips", clips, recursive=True)
        rows = {}
        expected: dict[str, str] = {}
        frames = sum(frames_of(number) for number in range(arguments.clips))
        for number, (way, nodes) in enumerate(WAYS.items()):
            # One process reads and writes the machine's own files: without a cluster there is nothing else.
            source = f"{folder}/clips" if nodes is None else clips
            target = f"{folder}/depth" if nodes is None else f"{out}/{number}"
            with nullcontext() if nodes is None else cluster_of(nodes) as address:
                rows[way] = measured(source, target, address, arguments.clips, killing="killed" in way)
            found = digests(target)
            expected = expected or found
            if found != expected or len(found) != frames:
                sys.exit(f"{way}: {len(found)} files, of which {len(found.items() - expected.items())} differ.")
            print(f"{way:28} {rows[way]['seconds']:7.1f} s  {rows[way]['clips_per_second']:6.2f} clips/s", flush=True)
            if arguments.json is not None:  # after each, because a run of all may take hours
                result = {"clips": arguments.clips, "frames": frames, "store": arguments.store, "rows": rows}
                arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def frames_of(clip: int) -> int:
    return FRAMES[clip % DISTINCT % len(FRAMES)]


def write_clips(folder: Path, count: int) -> None:
    """Short clips of moving stripes, in folders of a hundred."""
    for number in range(count):
        place = folder / f"{number // 100:03d}" / f"{number:05d}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number >= DISTINCT:
            first = number % DISTINCT
            place.write_bytes((folder / "000" / f"{first:05d}.mp4").read_bytes())
            continue
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
        with av.open(str(place), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
            for frame in range(frames_of(number)):
                grey = (4 * columns + 7 * rows + 10 * number + 3 * frame) % 256
                picture = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, 2).astype(np.uint8), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())


@contextmanager
def store(kind: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Addresses for clips and for depth."""
    if kind == "local":
        yield str(folder / "clips"), str(folder / "out")
        return
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir("bench")
    try:
        yield "s3://bench/clips", "s3://bench/depth"
    finally:
        server.stop()


def measured(source: str, target: str, address: str | None, clips: int, killing: bool) -> dict[str, float]:
    """Seconds of one run, and its clips per second once it is under way."""
    words = ["predict", "starter", f"{source}/**/*.mp4", "--out", target, "--format", "npy", "--runtime", "onnx"]
    command = [sys.executable, "-m", "egodepth", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if address is not None:
        command += ["--engine", "ray", "--address", address]
    start = time.time()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        if killing:
            kill_one(process, target, clips // 2)
        code = process.wait()
        seconds = time.time() - start
        if code:
            said.seek(0)
            sys.exit(f"{' '.join(words)}: ended with exit code {code}: {said.read()}")
    times = sorted(finished_at(target, "json" if address else "npy"))
    return {"seconds": seconds, "clips_per_second": (clips - 1) / (times[-1] - times[0]), "first_s": times[0] - start}


@contextmanager
def cluster_of(nodes: int) -> Iterator[str]:
    """The address of a Ray cluster of machines with one processor each, which are processes of this one."""
    # Ray lets no caller say this folder for the address of the cluster alone.
    with tempfile.TemporaryDirectory(prefix="ray-", dir=SHORT_FOLDER, ignore_cleanup_errors=True) as folder:
        before = {name: os.environ.get(name) for name in ("RAY_TMPDIR", "RAY_USAGE_STATS_ENABLED")}
        os.environ |= {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        cluster = Cluster()
        try:
            for _ in range(nodes):
                cluster.add_node(**node)
            cluster.wait_for_nodes()
            yield cluster.address
        finally:
            cluster.shutdown()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def busy_workers() -> list[int]:
    """Processes of the Ray clusters of this one that are at a piece, which they say in their titles."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            if title.startswith(b"ray::MapWorker") and b"(" in title and os.getpid() in ancestors(int(folder.name)):
                found.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return found


def ancestors(process: int) -> Iterator[int]:
    """The process that started another, the one that started that, and so on."""
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        yield process


def kill_one(process: subprocess.Popen, target: str, done: int) -> None:
    """Kill a worker as soon as so many clips are done."""
    while process.poll() is None:
        if len(finished_at(target, "json")) >= done and (found := busy_workers()):
            os.kill(found[0], signal.SIGKILL)
            return
        time.sleep(0.2)
    sys.exit("all was done before a worker could be killed; give more --clips.")


def finished_at(target: str, suffix: str) -> list[float]:
    """When the files of a suffix were written, in seconds since 1970."""
    files, root = fsspec.core.url_to_fs(target)
    files.invalidate_cache()
    entries = [entry for path, entry in files.find(root, detail=True).items() if path.endswith(suffix)]
    return [entry["mtime"] if "mtime" in entry else entry["LastModified"].timestamp() for entry in entries]


def digests(target: str) -> dict[str, str]:
    """Names and contents of the depth in a folder."""
    files, root = fsspec.core.url_to_fs(target)
    found = [path for path in files.find(root) if path.endswith(".npy")]
    return {path.partition(root)[2]: hashlib.sha256(files.cat_file(path)).hexdigest() for path in found}


if __name__ == "__main__":
    main()
