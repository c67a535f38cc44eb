"""The notebooks run from top to bottom, offline, on drives of a few frames."""

import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[1]
SMALL = {"FRAMES": "24", "HEIGHT, WIDTH": "32, 96", "STEPS": "1"}


def smaller(source: str) -> str:
    """A cell with the sizes of a test."""
    for name, value in SMALL.items():
        source = re.sub(rf"(?m)^{name} = [\d, ]*\d", f"{name} = {value}", source)
    return re.sub(r"(-m egodepth train .*)", r"\1 --workers 0", source)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("train_on_your_video", ["run/model/model.safetensors", "run/report.html", "depth/drive.mp4"]),
        ("metres", ["by-height/config.json", "by-tape.json"]),
        ("teach", ["maps/depth_maps.json", "student/report.json", "student/model/model.safetensors"]),
    ],
)
def test_a_notebook_runs_to_its_end_on_a_small_drive(name, made, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "notebooks are kept without outputs"
    for cell in code:
        cell.source = smaller(cell.source)
    assert "FRAMES = 24" in code[0].source
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    # A command that ends with an error does not end the notebook.
    errors = [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not errors, errors
    said = "".join(output.text for cell in code for output in cell.outputs if output.output_type == "stream")
    assert "egodepth: " not in said, said
    assert [file for file in made if not (tmp_path / file).is_file()] == []
