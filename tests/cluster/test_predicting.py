"""Prediction on a Ray cluster from and to an object store: what one process writes, whatever becomes of a worker."""

import os
import shutil
import signal
import threading
import time
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.cluster import busy_workers, cluster_of
from egodepth.cluster import predicting
from egodepth.cluster.pieces import Piece, forget, join_records, left_to_do, pieces_of, record_of
from egodepth.cluster.predicting import ray_cluster
from egodepth.cluster.storage import Store, find_inputs
from egodepth.cluster.worker import MOST_ATTEMPTS, Attempts, Work, Worker
from egodepth.data.footage.stretches import Stretch, stretches_of
from egodepth.inference.inputs import expand_inputs
from egodepth.inference.options import PredictionOptions
from egodepth.inference.predict import predict
from egodepth.models.opening import open_for_use
from tests.command_line import only_line, run
from tests.data.test_video_decoding import write
from tests.data.trees import moving_scene, write_frames, write_video
from tests.object_store import object_store
from tests.processes import PATIENCE_S

pytest.importorskip("ray", reason="Ray, the extra ray, is not installed")

CLIPS = 10

LEAST_FRAMES = 12
"""Shortest stretch here; the clips are shorter."""


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """Tiny clips, two of one name, a broken one, and a folder of frames with its camera."""
    folder = tmp_path_factory.mktemp("footage")
    for number in range(CLIPS):
        place = folder / ("left" if number % 2 else "right") / f"{number // 2}.mp4"
        place.parent.mkdir(exist_ok=True)
        write_video(place, range(number, number + 3), (32, 64))
    (folder / "left" / "broken.mp4").write_bytes(b"no video")
    write_frames(folder / "frames", range(2), (32, 64))
    (folder / "frames" / "camera.json").write_text('{"fx": 40, "fy": 40, "cx": 31.5, "cy": 15.5}')
    return folder


@pytest.fixture
def bucket(footage, monkeypatch):
    """An object store on loopback that holds the footage."""
    with object_store(monkeypatch) as files:
        files.mkdir("drives")
        files.put(str(footage), "drives/in", recursive=True)
        yield files


def contents(files, folder: str) -> dict[str, bytes]:
    """What a folder of the store holds, but for records, by names relative to it."""
    found = files.find(folder)
    return {path.removeprefix(f"{folder}/"): files.cat_file(path) for path in found if "/.egodepth/" not in path}


class Killer(threading.Thread):
    """Kills one worker, as soon as a piece is done and others are in hand; `killed` has its process id."""

    def __init__(self, files, folder: str) -> None:
        super().__init__(daemon=True)
        self.files, self.folder = files, folder
        self.killed: list[int] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.05):
            if self.files.exists(self.folder) and self.files.find(self.folder):
                for process in busy_workers():
                    os.kill(process, signal.SIGKILL)
                    self.killed.append(process)
                    return


def worker_of(footage: Path, out: Path, begin, runtime="onnx", **options) -> Worker:
    options = PredictionOptions(**{"format": "npy", **options})
    return Worker(Work("starter", "cpu", runtime, options, str(footage), str(out), LEAST_FRAMES), begin)


@pytest.mark.parametrize("options", [{"format": "video"}, {"format": "color", "steady": True}], ids=["video", "steady"])
def test_a_piece_alone_gives_what_it_gives_among_others(footage, tmp_path, options):
    addresses = [f"{footage}/right/[01].mp4", f"{footage}/left/[12].mp4", f"{footage}/frames"]
    predictor = open_for_use("starter", runtime="onnx").predictor
    predict(predictor, addresses, tmp_path / "one", progress=False, **options)
    worker = worker_of(footage, tmp_path / "many", Attempts().begin, **options)
    _, inputs = find_inputs(addresses)
    assert [each.name for each in inputs] == [each.name for each in expand_inputs(addresses)]
    results = [worker.attempted(piece) for piece in pieces_of(inputs)]
    assert [each.failure for each in results] == [None] * len(results)
    names = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert {Path(file) for each in results for file in each.files} == names
    for name in names:
        one, many = tmp_path / "one" / name, tmp_path / "many" / name
        if options["format"] == "video":  # whose encoder has threads, so that the same frames may give other bytes
            pairs = zip(frames_of(one), frames_of(many), strict=True)
            assert max(np.abs(first - second).mean() for first, second in pairs) < 2
        else:
            assert one.read_bytes() == many.read_bytes()


@pytest.fixture(scope="module")
def long_video(tmp_path_factory) -> Path:
    """A video that is split after 12 and 28 of its 41 frames."""
    pictures = [moving_scene(number, 32, 64) for number in range(41)]
    options = {"g": "1000", "bf": "2", "forced-idr": "1", "threads": "1"}
    return write(tmp_path_factory.mktemp("long") / "long.mp4", pictures, options=options, keys=(0, 12, 28))


def parts_of(worker: Worker, video: Path) -> list[Piece]:
    """The stretches that a worker finds in a video."""
    _, inputs = find_inputs([str(video)])
    [piece] = pieces_of(inputs)
    result = worker.attempted(piece)
    assert (result.failure, result.files) == (None, ())
    return [Piece.of_row(part.to_row()) for part in piece.parts([Stretch(*ends) for ends in result.stretches])]


@pytest.mark.parametrize(("runtime", "options"), [
    ("onnx", {"format": "npy"}),
    ("torch", {"format": "npy", "batch_size": 3}),
    ("onnx", {"format": "png16", "scale": 2.0}),
    ("onnx", {"format": "ply", "intrinsics": "fov=80"}),
], ids=["npy", "torch", "png16", "ply"])  # fmt: skip
def test_a_long_video_in_parts_gives_the_depth_of_one_go(long_video, tmp_path, runtime, options):
    predict(
        open_for_use("starter", runtime=runtime).predictor, [long_video], tmp_path / "one", progress=False, **options
    )
    expected = {path.name: path.read_bytes() for path in (tmp_path / "one" / "long").iterdir()}
    worker = worker_of(long_video, tmp_path / "parts", Attempts().begin, runtime, **options)
    parts = parts_of(worker, long_video)
    assert [(part.stretch.start, part.stretch.stop) for part in parts] == [(0, 12), (12, 28), (28, 41)]
    for part in reversed(parts):
        result = worker.attempted(part)
        assert result.failure is None
        assert len(result.files) == part.stretch.stop - part.stretch.start
    assert {path.name: path.read_bytes() for path in (tmp_path / "parts" / "long").iterdir()} == expected


@pytest.mark.parametrize("options", [{"format": "video"}, {"steady": True}], ids=["video", "steady"])
def test_what_depends_on_frames_before_is_predicted_in_one_go(long_video, tmp_path, options):
    _, inputs = find_inputs([str(long_video)])
    result = worker_of(long_video, tmp_path, Attempts().begin, **options).attempted(*pieces_of(inputs))
    assert (result.failure, result.stretches, result.pictures) == (None, (), 41)


def test_a_part_that_is_not_as_promised_says_so(long_video, tmp_path):
    worker = worker_of(long_video, tmp_path, Attempts().begin)
    [piece] = pieces_of(find_inputs([str(long_video)])[1])
    [part] = piece.parts([Stretch(28, 42)])
    assert worker.attempted(part).differs
    assert not (tmp_path / "long").exists()


def test_parts_that_are_done_stay_done_and_are_one_record_at_the_end(long_video, tmp_path):
    worker, out = worker_of(long_video, tmp_path, Attempts().begin), Store(str(tmp_path))
    [piece] = pieces_of(find_inputs([str(long_video)])[1])
    parts = parts_of(worker, long_video)
    worker.attempted(parts[1])
    assert left_to_do(parts, out, "npy") == [parts[0], parts[2]]
    forget([piece], out)
    assert left_to_do(parts, out, "npy") == [parts[0], parts[2]]
    forget([piece], out, with_parts=True)
    assert left_to_do(parts, out, "npy") == parts
    for part in parts:
        worker.attempted(part)
    assert left_to_do([piece], out, "npy") == [piece]
    join_records(piece, parts, out, "npy")
    assert left_to_do([piece], out, "npy") == []
    assert [name for name in out.list_names() if name.startswith(".egodepth")] == [piece.record]
    (tmp_path / "long" / "000030.npy").unlink()
    assert left_to_do([piece], out, "npy") == [piece]


def frames_of(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]


def test_what_fails_for_a_while_is_tried_again_and_what_fails_for_ever_is_given_up(footage, tmp_path, monkeypatch):
    _, inputs = find_inputs([f"{footage}/left/0.mp4"])
    [piece] = pieces_of(inputs)
    fetch, failures = Store.fetch, iter([OSError("the store is away")] * 2)

    def unreliable(*arguments) -> None:
        for failure in failures:
            raise failure
        fetch(*arguments)

    monkeypatch.setattr(Store, "fetch", unreliable)
    result = worker_of(footage, tmp_path, Attempts().begin).attempted(piece)
    assert (result.failure, len(result.files)) == (None, 3)
    failures = iter([OSError("the store is away")] * MOST_ATTEMPTS)
    result = worker_of(footage, tmp_path, Attempts().begin).attempted(piece)
    assert result.failure == f"{footage}/left/0.mp4: OSError: the store is away"
    # Whoever begins the fourth time follows on workers that were lost.
    result = worker_of(footage, tmp_path, lambda piece: MOST_ATTEMPTS + 1).attempted(piece)
    assert "worker was lost" in result.failure


def test_a_piece_counts_as_done_with_all_its_files_in_this_format_until_it_is_done_again(footage, tmp_path):
    _, inputs = find_inputs([f"{footage}/left/0.mp4", f"{footage}/left/1.mp4"])
    pieces, out = pieces_of(inputs), Store(str(tmp_path))
    for piece in pieces:
        (tmp_path / f"{piece.name}.npy").write_bytes(b"depth")
        (tmp_path / "record").write_bytes(record_of([f"{piece.name}.npy"], "npy"))
        out.put(tmp_path / "record", piece.record)
    assert left_to_do(pieces, out, "npy") == []
    assert left_to_do(pieces, out, "color") == pieces
    (tmp_path / "1.npy").unlink()
    assert left_to_do(pieces, out, "npy") == pieces[1:]
    (tmp_path / pieces[0].record).write_bytes(b"[")
    assert left_to_do(pieces, out, "npy") == pieces
    forget(pieces, out)
    assert out.list_names() == {"0.npy", "record"}


def test_depth_is_never_written_over_an_input(footage, capsys):
    pictures = footage / "frames"
    assert run("predict", f"{pictures}/*.png", "--out", pictures, "--engine", "ray") == 2
    assert "is one of the inputs" in only_line(capsys.readouterr().err)


def damaged(video: Path, packet_number: int) -> bytes:
    """A video with bytes of one packet overwritten, which nothing but decoding shows."""
    content = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packet = next(islice(container.demux(video=0), packet_number, None))
        middle = packet.pos + packet.size // 2
        content[middle : packet.pos + packet.size] = b"\xff" * (packet.size - packet.size // 2)
    return bytes(content)


def test_two_nodes_write_what_one_process_writes_though_a_worker_is_killed(
    bucket, footage, long_video, tmp_path, monkeypatch, capsys
):
    here = shutil.copytree(footage, tmp_path / "in")
    shutil.copy(long_video, here / "long.mp4")
    (here / "damaged.mp4").write_bytes(damaged(long_video, 13))
    assert len(stretches_of(here / "damaged.mp4", LEAST_FRAMES)) == 3
    for name in ("long.mp4", "damaged.mp4"):
        bucket.put_file(str(here / name), f"drives/in/{name}")
    inputs = ("**/*.mp4", "**/*.png")
    options = ("--format", "npy", "--runtime", "onnx")
    assert run("predict", *(f"{here}/{each}" for each in inputs), "--out", tmp_path / "depth", *options) == 1
    expected = {
        file.relative_to(tmp_path / "depth").as_posix(): file.read_bytes()
        for file in (tmp_path / "depth").rglob("*.npy")
    }
    lost = 41 - len([name for name in expected if name.startswith("damaged/")])
    assert 0 < lost < 41
    assert len(expected) == 3 * CLIPS + 2 + 41 + 41 - lost
    capsys.readouterr()

    far = [f"s3://drives/in/{each}" for each in inputs]
    arguments = ("predict", *far, "--out", "s3://drives/depth", *options, "--engine", "ray")
    monkeypatch.setattr(predicting, "LEAST_FRAMES", LEAST_FRAMES)
    with cluster_of(2) as address, ray_cluster(address):
        killer = Killer(bucket, "drives/depth")
        killer.start()
        assert run(*arguments, "--address", address) == 1
        killer.is_over.set()
        said = capsys.readouterr()
        assert killer.killed, "no worker was killed"
        assert "skipped: s3://drives/in/left/broken.mp4: is not a video" in said.out
        assert "skipped: s3://drives/in/damaged.mp4: not all of it can be decoded" in said.out
        assert f"2 of {CLIPS + 5} inputs were skipped" in said.err
        assert contents(bucket, "drives/depth") == expected
        records = [path for path in bucket.find("drives/depth/.egodepth") if path.endswith(".part")]
        assert records == []

        # What is done is left alone, and of a piece that lost a file all is done again.
        before = {path: entry["LastModified"] for path, entry in bucket.find("drives/depth", detail=True).items()}
        bucket.rm_file("drives/depth/left/2/000001.npy")
        bucket.rm_file("drives/in/left/broken.mp4")
        assert run(*arguments, "--resume") == 0
        assert f"{CLIPS + 3} of {CLIPS + 4} inputs were done before" in capsys.readouterr().out
        after = {path: entry["LastModified"] for path, entry in bucket.find("drives/depth", detail=True).items()}
        assert after.keys() == before.keys()
        assert {path for path in after if after[path] != before[path]} <= {path for path in after if "left/2" in path}
        assert contents(bucket, "drives/depth") == expected
    deadline = time.monotonic() + PATIENCE_S
    while busy_workers():  # they end when they find their node gone
        assert time.monotonic() < deadline
        time.sleep(0.1)
