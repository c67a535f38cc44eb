"""Opening a model for use, by PyTorch or without it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from egodepth.cache import cache_folder
from egodepth.errors import UserError
from egodepth.files import write_bytes
from egodepth.geometry.scale import Scale
from egodepth.inference.configurations import RuntimeName
from egodepth.inference.engines import ONNX_SUFFIX, RUNTIMES, device_type
from egodepth.inference.graph_file import open_graph_file
from egodepth.inference.graph_predictor import GraphPredictor
from egodepth.inference.predictor import Predictor
from egodepth.models.folder import ModelFolder
from egodepth.networks.model_config import WEIGHTS_FILE
from egodepth.version import __version__

GRAPH_FILE = "model.onnx"
"""The depth network as a graph, beside the weights of some models: the starter's, and those that were exported."""

MOST_CACHED = 20
"""Graphs that are kept for the next call; of more the oldest go."""


@dataclass(frozen=True)
class OpenedModel:
    """A model, ready to use.

    Attributes:
        scale: what its unit of depth means; None where depth is up to scale, or nobody said how it is known.
    """

    predictor: Predictor
    scale: Scale | None


def load(model: str | Path, device: str = "cpu") -> Predictor:
    """A model, ready to predict: by PyTorch where that is installed, else by ONNX Runtime or OpenVINO.

    Args:
        model: a released model folder, a run folder, the id of a model on the Hugging Face hub, `starter`, or an
            exported model (a folder or an ONNX file), which PyTorch is never needed for.

    Raises:
        UserError: there is no such model, its files are broken or from a newer egodepth, or it needs PyTorch, which is
            not installed.
    """
    return open_model(model, device).predictor


def open_model(model: str | Path, device: str = "cpu") -> OpenedModel:
    """`load`, with what the unit of depth means."""
    if _is_graph(model):
        predictor, scale = open_graph_file(Path(model))
        return OpenedModel(predictor.to(device), scale)
    opened = ModelFolder.open(model)
    if find_spec("torch") and (opened.folder / WEIGHTS_FILE).is_file():
        from egodepth.models.released import ReleasedModel

        network = ReleasedModel(opened.name, opened.folder, opened.config).predictor(device)
        return OpenedModel(network, opened.scale)
    return OpenedModel(_graph_beside(opened).to(device), opened.scale)


def open_for_use(
    model: str | Path, device: str = "cpu", runtime: RuntimeName | None = None, pictures: int | None = None
) -> OpenedModel:
    """A model and the engine that suits the work. PyTorch is imported only where nothing else will do.

    A graph that has to be made of a network is kept for the next call, see `egodepth.cache`.

    Args:
        model: as `load`.
        runtime: None chooses: a graph where there is one already, PyTorch for few pictures, a new graph for many.
        pictures: how many are to be predicted; None where nobody knows, and many are expected.

    Raises:
        UserError: as `load`, or the engine is not there.
    """
    if _is_graph(model):
        predictor, scale = open_graph_file(Path(model))
        return OpenedModel(predictor.to(device).with_runtime(runtime, pictures), scale)
    opened = ModelFolder.open(model)
    kept = None
    if device_type(device) == "cpu" and (runtime is None or RUNTIMES[runtime].takes == "graph"):
        if (predictor := _ready_graph(opened)) is not None:
            return OpenedModel(predictor.with_runtime(runtime, pictures), opened.scale)
        kept = _place_of_graph(opened)
        if (predictor := _kept_graph(opened, kept)) is not None:
            return OpenedModel(predictor.with_runtime(runtime, pictures), opened.scale)
    predictor = load(model, device).with_runtime(runtime, pictures)
    if isinstance(predictor, GraphPredictor) and isinstance(predictor.graph, bytes) and kept is not None:
        _keep(kept, predictor.graph)
    return OpenedModel(predictor, opened.scale)


def _is_graph(model: str | Path) -> bool:
    return Path(model).suffix == ONNX_SUFFIX


def graph_of(model: str | Path) -> GraphPredictor:
    """A model's graph, where there is one already: an exported model, one with a graph beside it, or one that is kept.

    Raises:
        UserError: there is none.
    """
    if _is_graph(model):
        return open_graph_file(Path(model))[0]
    opened = ModelFolder.open(model)
    return _ready_graph(opened) or _kept_graph(opened, _place_of_graph(opened)) or _graph_beside(opened)


def has_graph(model: str | Path) -> bool:
    """Whether a model is an exported one."""
    return _is_graph(model) or (Path(model).is_dir() and not (Path(model) / WEIGHTS_FILE).is_file())


def _graph_beside(opened: ModelFolder) -> GraphPredictor:
    """Raises UserError: the folder has no graph, and nothing else runs without PyTorch."""
    if (predictor := _ready_graph(opened)) is None:
        missing = "has no weights and no graph. Fetch or export it again."
        if (opened.folder / WEIGHTS_FILE).is_file():
            missing = (
                "needs PyTorch, which is not installed: pip install 'egodepth[train]'; or export it where that is, by "
                "egodepth export MODEL FILE.onnx, and give FILE.onnx."
            )
        raise UserError(f"{opened.name}: {missing}")
    return predictor


def _ready_graph(opened: ModelFolder) -> GraphPredictor | None:
    """The graph in the model's folder, where there is one."""
    if (exported := opened.config.get("exported")) is not None:
        return _exported(opened, exported)
    if (opened.folder / GRAPH_FILE).is_file():
        predictor, _ = open_graph_file(opened.folder / GRAPH_FILE)
        return predictor.as_said_by(opened.facts)
    return None


def _exported(opened: ModelFolder, exported: Mapping[str, Any]) -> GraphPredictor:
    """The model of a folder that `egodepth export` wrote. Its graph takes one size, and has metres built in.

    Raises:
        UserError: the format is for other programs.
    """
    file = opened.folder / exported["file"]
    if not any(file.suffix in record.reads for record in RUNTIMES.values()):
        raise UserError(
            f"{opened.name}: was exported for other programs ({exported['format']}). Give the model itself."
        )
    if not file.is_file():
        raise UserError(f"{opened.name}: has no {file.name}. Export it again.")
    metres = exported["metres_in_depth"]
    facts = replace(opened.facts, keeps_aspect=False, time_offsets=tuple(exported["time_offsets"]))
    graph = file.read_bytes() if file.suffix == ONNX_SUFFIX else file
    return GraphPredictor(graph, facts, 1.0 if metres is None else 1 / metres)


def _kept_graph(opened: ModelFolder, place: Path | None) -> GraphPredictor | None:
    """The graph that an earlier call made of the network, where it is still there."""
    if place is None or not place.is_file():
        return None
    return GraphPredictor(place.read_bytes(), opened.facts)


def _place_of_graph(opened: ModelFolder) -> Path | None:
    """Where the graph of a model's network is kept; None where nothing is. To know it costs reading all weights."""
    folder = cache_folder("graphs")
    weights = opened.folder / WEIGHTS_FILE
    if folder is None or not weights.is_file():
        return None
    key = hashlib.sha256(f"{__version__} {sorted(opened.config.items())}".encode())
    with weights.open("rb") as file:
        key.update(hashlib.file_digest(file, "sha256").digest())
    return folder / f"{key.hexdigest()}{ONNX_SUFFIX}"


def _keep(file: Path, graph: bytes) -> None:
    """Keep a graph, and of all the newest; a cache that cannot be written to is none."""
    try:
        write_bytes(file, graph)
        kept = sorted(file.parent.glob(f"*{ONNX_SUFFIX}"), key=lambda each: each.stat().st_mtime)
        for old in kept[:-MOST_CACHED]:
            old.unlink(missing_ok=True)
    except (OSError, UserError):
        return
