"""The documentation as a site: it builds without a warning and needs nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site):
    loaded = re.compile(r'<(?:script|img|iframe|video|source)\b[^>]*\ssrc="?([^"\s>]+)|<link\b[^>]*\shref="?([^"\s>]+)')
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    found = {address for page in pages for pair in loaded.findall(page.read_text()) for address in pair if address}
    assert found
    assert not [address for address in found if re.match(r"(?:https?:)?//", address)]


def test_pages_beside_the_code_and_tables_made_from_it_are_part_of_it(site):
    assert 'href="starter.html"' in (site / "training-on-your-own-video.html").read_text()
    assert "<code>dna-depth-b0</code>" in (site / "reference" / "recipes.html").read_text()
    assert "<code>egodepth data pack</code>" in (site / "reference" / "commands.html").read_text()
    assert "PyTorch is never needed for" in re.sub(r"\s+", " ", (site / "reference" / "python.html").read_text())
