"""Exported models: ONNX files that say themselves what they are."""

from pathlib import Path

from egodepth.errors import UserError, first_line
from egodepth.geometry.scale import Scale
from egodepth.inference.graph_predictor import GraphPredictor
from egodepth.inference.predictor import ModelFacts

LARGEST_BYTES = 2 * 2**30
"""A graph of more is no depth network of ours, and more than its format holds."""


def open_graph_file(file: Path) -> tuple[GraphPredictor, Scale | None]:
    """The model of a file that `egodepth export` wrote, and what its unit of depth means.

    Raises:
        UserError: it is missing, is no whole ONNX file, or was not written by egodepth.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file. Give an ONNX file that egodepth export wrote.")
    if file.stat().st_size > LARGEST_BYTES:
        raise UserError(f"{file}: is larger than 2 GB, which no exported model is. Export it again.")
    graph = file.read_bytes()
    said = _metadata(file, graph)
    try:
        metres = float(said["metres_per_unit"]) if "metres_per_unit" in said else None
        facts = ModelFacts(
            int(said["height"]),
            int(said["width"]),
            metres_per_unit=metres or (1.0 if said["unit"] == "metres" else None),
            focal=float(said["focal"]) if "focal" in said else None,
            keeps_aspect=said.get("sizes") == "any",
            time_offsets=tuple(int(each) for each in said.get("time_offsets", "").split(",") if each),
            recipe=said["recipe"],
        )
        error = float(said["metres_error"]) if "metres_error" in said else None
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{file}: does not say what egodepth needs to know ({first_line(error)}). Export it by egodepth export."
        ) from error
    scale = None
    if facts.metres_per_unit is not None and "metres_from" in said:
        scale = Scale(facts.metres_per_unit, said["metres_from"], error=error, note=said.get("metres_note"))
    unit = 1.0 if facts.metres_per_unit is None else 1 / facts.metres_per_unit
    return GraphPredictor(graph, facts, unit), scale


def _metadata(file: Path, graph: bytes) -> dict[str, str]:
    """What the file says of itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's types are its own
        raise UserError(f"{file}: is no whole ONNX file ({first_line(error)}). Export the model again.") from error
    return session.get_modelmeta().custom_metadata_map
