"""Prediction on a Ray cluster: inputs in pieces, a model on each device, and nothing done twice or lost.

Ray Data hands the pieces out and does those of a lost worker again; what a worker does with one is in
`egodepth.cluster.worker`.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import TextColumn

from egodepth.cluster.pieces import (
    Piece,
    PieceResult,
    check_outputs,
    discard,
    forget,
    join_records,
    left_to_do,
    pieces_of,
)
from egodepth.cluster.storage import Store, find_inputs
from egodepth.cluster.worker import LOST, Attempts, CameraFile, Work, Worker
from egodepth.data.calibrations.finding import named_file
from egodepth.data.footage.stretches import Stretch
from egodepth.errors import UserError, first_line
from egodepth.inference.configurations import RuntimeName
from egodepth.inference.options import PredictionOptions
from egodepth.inference.predict import PredictionReport, Skipped, nothing_readable
from egodepth.inference.predictor import Predictor
from egodepth.processors import available_processors
from egodepth.progress import progress_bar

OBJECT_STORE_BYTES = 128 * 2**20
"""Memory for what Ray itself carries, of a cluster that is started here: names and figures, no pictures."""

LEAST_FRAMES = 9_000
"""Shortest stretch of a long video, five minutes at 30 frames a second: each fetches the video again, which takes
seconds against minutes of work."""

STARTS = 3
"""Attempts to start a cluster on this machine."""

SHORT_FOLDER = Path("/tmp")
"""Ray makes sockets below its folder, whose whole paths may have about a hundred characters."""


def predict_on_cluster(
    model: str,
    predictor: Predictor,
    addresses: Sequence[str],
    out: str,
    options: PredictionOptions,
    device: str = "cpu",
    runtime: RuntimeName | None = None,
    cluster: str | None = None,
    resume: bool = False,
) -> PredictionReport:
    """`predict` on all devices of a Ray cluster, from and to anywhere that fsspec reaches.

    A piece of work is a video, a stretch of a long one, or the pictures of one folder. Its depth is what one process
    would write. What is interrupted leaves whole files; the same call with `resume` does the rest.

    Args:
        model: that each worker opens for itself.
        predictor: the same model, opened here, which says whether the options suit it.
        addresses: files, folders and patterns of one store; images and videos are known by their suffixes.
        out: address of a folder.
        device: cpu, for a worker on each processor, or cuda, for one on each GPU.
        cluster: address of a Ray cluster; None starts one on this machine, and ends it.
        resume: leave out pieces that are done already, in the same format.

    Returns:
        paths in it are those in the stores; an input that failed is among the skipped.

    Raises:
        UserError: Ray is not installed, no input can be used, an address cannot be reached, depth would replace an
            input, an option is wrong, or the cluster is not there or has no such device.
    """
    if not (find_spec("ray") and find_spec("fsspec")):
        raise UserError("--engine ray needs Ray: pip install 'egodepth[ray]'.")
    predictor = options.applied_to(predictor)
    if device not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: on a cluster it is cpu or cuda, for all devices of the kind.")
    source, inputs = find_inputs(addresses)
    target = Store(out)
    pieces = pieces_of(inputs)
    check_outputs(pieces, source, target, options)
    left = left_to_do(pieces, target, options.format) if resume else pieces
    forget(left, target, with_parts=not resume)
    work = _work(model, device, runtime, options, source.said, target.said)
    results = {}
    if left:
        with ray_cluster(cluster):
            results = _predicted(work, left, target, resume)
    report = _report(pieces, left, results, predictor.is_metric)
    if not report.written and not report.done_before:
        raise UserError(nothing_readable(report.skipped))
    return report


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """A connection to a Ray cluster, or to the one that this process is connected to already.

    Args:
        address: of it; None starts one on this machine, which is gone at the end with all that it wrote.

    Raises:
        UserError: there is no cluster, or none can be started.
    """
    # Before Ray is imported, which would tell its makers of each start, and show its own log among our words.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    with TemporaryDirectory(prefix="ray-", dir=SHORT_FOLDER, ignore_cleanup_errors=True) as folder:
        settings = {"address": address}
        if address is None:
            settings = {
                "address": "local",
                "num_cpus": available_processors(),
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        # Ray gives up after 30 seconds, in which a busy machine may not have started all of it.
        for attempts_left in reversed(range(STARTS if address is None else 1)):
            try:
                ray.init(**settings, log_to_driver=False, configure_logging=False)
                break
            except Exception as error:  # a cluster that does not answer or start is said by many types
                ray.shutdown()
                if attempts_left:
                    continue
                place = "Ray does not start here" if address is None else f"--address {address}: no Ray answers"
                raise UserError(f"{place} ({first_line(error)}). Check it, or do without --engine ray.") from error
        try:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own would end this process with another exit code
            yield
        finally:
            ray.shutdown()


def _predicted(work: Work, pieces: Sequence[Piece], out: Store, resume: bool) -> dict[str, PieceResult]:
    """What became of pieces, by their records: of long videos after all of their stretches."""
    format = work.options.format
    results = _round(work, pieces, "Predicting")
    parts = {
        piece: piece.parts([Stretch(*ends) for ends in result.stretches])
        for piece in pieces
        if (result := results.get(piece.record)) and result.stretches
    }
    all_parts = [part for each in parts.values() for part in each]
    left = left_to_do(all_parts, out, format) if resume and all_parts else all_parts
    if left:
        forget(left, out)
    of_parts = {part.record: _lost(part) for part in left} | _round(work, left, "Parts of long videos")
    again = {}
    for piece, its_parts in parts.items():
        found = [of_parts[part.record] for part in its_parts if part.record in of_parts]
        results[piece.record] = joined = PieceResult.joined(piece, found)
        if any(each.differs for each in found):
            discard(its_parts, out, format)
            again[replace(piece, in_one_go=True)] = its_parts
            del results[piece.record]
        elif joined.failure is None:
            join_records(piece, its_parts, out, format)
    results |= _round(work, list(again), "Videos in one go")
    for piece, its_parts in again.items():
        # Once more: a worker that was killed at the end of a stretch is replaced by one that does it again, which Ray
        # does not wait for where it has the result.
        discard(its_parts, out, format, results[piece.record].files if piece.record in results else ())
    return results


def _round(work: Work, pieces: Sequence[Piece], title: str) -> dict[str, PieceResult]:
    """What became of pieces, by their records, with progress shown; one whose worker was lost for good is missing."""
    return {each.record: each for each in _shown(_results(work, pieces), len(pieces), title)} if pieces else {}


def _lost(piece: Piece) -> PieceResult:
    return PieceResult(piece.record, failure=f"{piece.name}: {LOST}")


def _results(work: Work, pieces: Sequence[Piece]) -> Iterator[PieceResult]:
    """What becomes of pieces, as they end.

    Raises:
        UserError: the cluster has no device for the work, or is lost.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus = 1 if work.device == "cuda" else 0
    devices = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
    if not devices:
        raise UserError(f"--device {work.device}: the Ray cluster has none. Add machines to it, or choose another.")
    attempts = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    # A block for each piece: Ray does whole blocks again.
    rows = ray.data.from_items([piece.to_row() for piece in pieces], override_num_blocks=len(pieces))
    done = rows.map(
        Worker,
        fn_constructor_args=(work, partial(_begin, attempts)),
        compute=ActorPoolStrategy(size=min(devices, len(pieces))),
        num_cpus=1,
        num_gpus=gpus,
    )
    try:
        for row in done.iter_rows():
            yield PieceResult.of_row(row)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"the Ray cluster was lost ({first_line(error)}). What is written is whole; --resume does the rest."
        ) from error
    finally:
        ray.kill(attempts)  # without it no worker begins anything any more


def _begin(attempts: Any, piece: str) -> int:
    import ray

    return ray.get(attempts.begin.remote(piece))


def _shown(results: Iterator[PieceResult], total: int, title: str) -> Iterator[PieceResult]:
    """The same results, with progress and throughput on standard error."""
    pictures, start = 0, None
    with progress_bar(True, TextColumn("{task.fields[figures]}", markup=False)) as bar:
        task = bar.add_task(title, total=total, figures="")
        for count, result in enumerate(results):
            # Not from the start: Ray and the models need a while first.
            start = start or time.monotonic()
            seconds = time.monotonic() - start
            if seconds:
                figures = f"{count / seconds:.2g} inputs/s, {pictures / seconds:.3g} pictures/s"
                bar.update(task, figures=figures)
            pictures += result.pictures
            bar.advance(task)
            yield result


def _work(
    model: str, device: str, runtime: RuntimeName | None, options: PredictionOptions, source: str, out: str
) -> Work:
    """What workers are told, with all that they cannot look up where they are."""
    camera = None
    named = None if options.intrinsics is None else named_file(options.intrinsics)
    if named is not None:
        file, name = named
        camera = CameraFile(file.name, file.read_bytes(), name)
    here = str(Path(model).absolute()) if Path(model).exists() else model
    return Work(here, device, runtime, options, source, out, LEAST_FRAMES, camera)


def _report(
    pieces: Sequence[Piece], left: Sequence[Piece], results: dict[str, PieceResult], is_metric: bool
) -> PredictionReport:
    """What all pieces together came to, in their order."""
    written: list[Path] = []
    skipped: list[Skipped] = []
    ratios: list[float] = []
    for piece in left:
        result = results.get(piece.record) or _lost(piece)
        written += map(Path, result.files)
        skipped += [Skipped(Path(path), reason) for path, reason in result.skipped]
        if result.failure is not None:
            skipped += [Skipped(each.path, result.failure) for each in piece.inputs]
        ratios += result.focal_ratios or ()
    all_inputs, left_inputs = (sum(len(piece.inputs) for piece in group) for group in (pieces, left))
    return PredictionReport(
        tuple(written),
        tuple(skipped),
        is_metric,
        (min(ratios), max(ratios)) if ratios else None,
        sum(result.without_camera for result in results.values()),
        all_inputs - left_inputs,
        sum(result.pictures for result in results.values()),
        all_inputs,
    )
