"""Prediction on a Ray cluster from and to an object store: what one process writes, whatever becomes of a worker."""

import os
import signal
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.cluster import busy_workers
from egodepth.cluster.pieces import PieceResult, forget, left_to_do, pieces_of, record_of
from egodepth.cluster.predicting import ray_cluster
from egodepth.cluster.storage import Store, find_inputs
from egodepth.cluster.worker import MOST_ATTEMPTS, Attempts, Work, Worker
from egodepth.inference.inputs import expand_inputs
from egodepth.inference.options import PredictionOptions
from egodepth.inference.predict import predict
from egodepth.models.opening import open_for_use
from tests.command_line import only_line, run
from tests.data.trees import write_frames, write_video

pytest.importorskip("ray", reason="Ray, the extra ray, is not installed")
moto = pytest.importorskip("moto.server", reason="moto, which stands for an object store, is not installed")
s3fs = pytest.importorskip("s3fs", reason="s3fs, the extra ray, is not installed")

CLIPS = 10


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
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.mkdir("drives")
    files.put(str(footage), "drives/in", recursive=True)
    yield files
    server.stop()


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


def worker_of(footage: Path, out: Path, begin, **options) -> Worker:
    options = PredictionOptions(**{"format": "npy", **options})
    return Worker(Work("starter", "cpu", "onnx", options, str(footage), str(out)), begin)


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
        (tmp_path / "record").write_bytes(record_of(PieceResult(str(piece.name), (f"{piece.name}.npy",)), "npy"))
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


def test_a_cluster_writes_what_one_process_writes_though_a_worker_is_killed(bucket, footage, tmp_path, capsys):
    inputs = ("**/*.mp4", "**/*.png")
    options = ("--format", "npy", "--runtime", "onnx")
    assert run("predict", *(f"{footage}/{each}" for each in inputs), "--out", tmp_path / "depth", *options) == 1
    expected = {
        file.relative_to(tmp_path / "depth").as_posix(): file.read_bytes()
        for file in (tmp_path / "depth").rglob("*.npy")
    }
    assert len(expected) == 3 * CLIPS + 2
    capsys.readouterr()

    far = [f"s3://drives/in/{each}" for each in inputs]
    arguments = ("predict", *far, "--out", "s3://drives/depth", *options, "--engine", "ray")
    with ray_cluster(None):
        killer = Killer(bucket, "drives/depth")
        killer.start()
        assert run(*arguments) == 1
        killer.is_over.set()
        said = capsys.readouterr()
        assert killer.killed, "no worker was killed"
        assert "skipped: s3://drives/in/left/broken.mp4: is not a video" in said.out
        assert f"1 of {CLIPS + 3} inputs was skipped" in said.err
        assert contents(bucket, "drives/depth") == expected

        # What is done is left alone, and of a piece that lost a file all is done again.
        before = {path: entry["LastModified"] for path, entry in bucket.find("drives/depth", detail=True).items()}
        bucket.rm_file("drives/depth/left/2/000001.npy")
        bucket.rm_file("drives/in/left/broken.mp4")
        assert run(*arguments, "--resume") == 0
        assert f"{CLIPS + 1} of {CLIPS + 2} inputs were done before" in capsys.readouterr().out
        after = {path: entry["LastModified"] for path, entry in bucket.find("drives/depth", detail=True).items()}
        assert after.keys() == before.keys()
        assert {path for path in after if after[path] != before[path]} <= {path for path in after if "left/2" in path}
        assert contents(bucket, "drives/depth") == expected
    assert not busy_workers()
