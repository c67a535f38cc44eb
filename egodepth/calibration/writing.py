"""camera.json of a calibration, with where it is from."""

import json
from pathlib import Path
from typing import Any

from egodepth.calibration.boards import Board, BoardCalibration
from egodepth.calibration.footage import FootageCalibration
from egodepth.data.calibrations.calibration import Calibration
from egodepth.data.calibrations.camera_json import camera_entries
from egodepth.files import write_text
from egodepth.version import __version__


def write_board_calibration(file: Path, source: Path, board: Board, found: BoardCalibration) -> None:
    """Write camera.json, whole or not at all."""
    origin = {
        "by": "chessboard",
        "source": source.name,
        "board": f"{board.columns}x{board.rows}",
        "pictures": len(found.errors_px),
        "rms_px": round(found.rms_px, 4),
        "coverage": round(found.coverage, 3),
    }
    _write(file, found.calibration, origin)


def write_footage_calibration(file: Path, source: Path, found: FootageCalibration) -> None:
    """Write camera.json, whole or not at all."""
    origin = {
        "by": "footage alone",
        "source": source.name,
        "frames": found.frames,
        "registered": found.registered,
        "error_px": round(found.error_px, 4),
        "focal_deviation": round(found.deviation, 4),
        "focal_px_of_runs": [round(run.focal_px, 2) for run in found.runs],
        "doubts": found.doubts,
    }
    _write(file, found.calibration, origin)


def camera_said(calibration: Calibration) -> str:
    """The numbers of a camera, as they are printed."""
    entries = camera_entries(calibration)
    size = f"{entries.pop('width')}x{entries.pop('height')}"
    model = entries.pop("model", "no distortion")
    shown = ", ".join(
        f"{key} {value:.2f}" if key[0] in "fc" else f"{key} {value:.4f}" for key, value in entries.items() if value
    )
    return f"{shown} ({model}, {size})"


def _write(file: Path, calibration: Calibration, origin: dict[str, Any]) -> None:
    entries = camera_entries(calibration) | {"origin": {"egodepth": __version__} | origin}
    write_text(file, json.dumps(entries, indent=2) + "\n")
