"""What a release says of itself: one version everywhere, and a model card that the hub can read."""

import re
from pathlib import Path

import yaml

from egodepth import __version__
from egodepth.models.folder import STARTER_FOLDER

ROOT = Path(__file__).parents[2]


def test_citation_and_changelog_are_of_the_package_s_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    newest = re.search(r"(?m)^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text())[1]
    assert newest == __version__


def test_the_starter_s_card_begins_as_the_hub_reads_it():
    _, head, text = (STARTER_FOLDER / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["license"] == "apache-2.0"
    assert card["pipeline_tag"] == "depth-estimation"
    # The figures of the head are those of the table.
    [result] = card["model-index"][0]["results"]
    [row] = [line for line in text.splitlines() if "--scaling none" in line]
    for metric in result["metrics"]:
        assert str(metric["value"]) in row, metric
