"""YAML, and OpenCV's dialect of it, without anything that a file could run."""

from collections.abc import Mapping
from typing import Any

import yaml

from egodepth.data.calibrations.calibration import Unusable


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which knows plain values alone; matrices are read as the mappings that they are."""


def _matrix(loader: _Loader, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise Unusable("has a matrix without rows, cols and data")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix)


def read_yaml(text: str) -> Mapping[str, Any]:
    """The first document of a YAML text.

    Raises:
        Unusable: it is none, or no mapping.
    """
    lines = text.splitlines()
    if lines and lines[0].startswith("%YAML:"):  # OpenCV's own first line, which YAML itself has with a space
        lines = lines[1:]
    try:
        document = next(iter(yaml.load_all("\n".join(lines), Loader=_Loader)), None)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise Unusable(f"is not YAML{where}") from error
    if not isinstance(document, Mapping):
        raise Unusable("holds no YAML mapping")
    return document


def matrix_values(entry: Any) -> list[float]:
    """The numbers of a matrix, row by row: a list, a list of rows, or rows, cols and data."""
    if isinstance(entry, Mapping):
        values = matrix_values(entry["data"])
        if len(values) != int(entry["rows"]) * int(entry["cols"]):
            raise Unusable(f"has a matrix of {entry['rows']}x{entry['cols']} with {len(values)} numbers")
        return values
    if entry and isinstance(entry[0], list):
        return [float(value) for row in entry for value in row]
    return [float(value) for value in entry or ()]


def pinhole_values(entry: Any) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a matrix of intrinsics."""
    values = matrix_values(entry)
    if len(values) != 9 or any(abs(values[place]) > 1e-6 for place in (1, 3, 6, 7)) or values[8] != 1:
        raise Unusable("its camera matrix is not fx 0 cx, 0 fy cy, 0 0 1")
    return values[0], values[4], values[2], values[5]
