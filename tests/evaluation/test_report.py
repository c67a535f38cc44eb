"""Reports and figures: whole pages, escaped text, pictures that can be opened."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from egodepth.colour import NO_VALUE
from egodepth.data.samples import EvaluationFrame
from egodepth.evaluation.evaluate import FrameResult, ImageRow, evaluate
from egodepth.evaluation.priors import constant_depth, ground_plane
from egodepth.evaluation.protocols import PROTOCOLS
from egodepth.evaluation.report import (
    MetricsTable,
    PictureRow,
    comparison,
    frame_pictures,
    per_image_figures,
    write_report,
)


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def frames(count: int = 2) -> list[EvaluationFrame]:
    depth = np.repeat(np.linspace(4, 60, 48, dtype=np.float32)[::-1, None], 160, axis=1)
    image = np.full((48, 160, 3), 120, np.uint8)
    return [EvaluationFrame(f"drive/{index} <l>", image, depth) for index in range(count)]


def a_report(path, **options) -> Page:
    write_report(path, **({"title": "A run"} | options))
    return Page(path.read_text(encoding="utf-8"))


def test_a_report_holds_facts_tables_curves_pictures_and_notes(tmp_path):
    protocol = PROTOCOLS["simulated"]
    priors = {"constant": constant_depth(), "ground plane": ground_plane()}
    results = {
        name: evaluate(predict, frames(), protocol, metric_scale=False, progress=False)
        for name, predict in priors.items()
    }
    picture = np.zeros((20, 60, 3), np.uint8)
    page = a_report(
        tmp_path / "report.html",
        summary=[("images per second", "12.3")],
        tables=[comparison("Held-out frames", results)],
        curves={"loss": [(step, 1 / (step + 1)) for step in range(100)], "learning rate": [(0, 1e-4), (9, 1e-5)]},
        panels=[PictureRow("first frame", [("image", picture), ("depth", picture)])],
        notes=["Trained for a minute."],
    )
    text = " ".join(page.text)
    for expected in (
        "12.3",
        "Held-out frames",
        "ground plane",
        "abs_rel ↓",
        "learning rate",
        "first frame",
        "a minute",
    ):
        assert expected in text
    assert len(page.attributes("svg")) == 2
    pictures = [attributes["src"] for attributes in page.attributes("img")]
    assert len(pictures) == 2
    for source in pictures:
        content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        assert Image.open(io.BytesIO(content)).size == (60, 20)


def test_a_report_needs_nothing_from_outside(tmp_path):
    page = a_report(tmp_path / "report.html", curves={"loss": [(0, 1.0), (1, 0.5)]})
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe"}
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)


def test_the_best_of_each_column_is_marked(tmp_path):
    table = MetricsTable("T", {"good": {"abs_rel": 0.1, "a1": 0.9}, "bad": {"abs_rel": 0.3, "a1": 0.5}})
    write_report(tmp_path / "report.html", "A run", tables=[table])
    marked = re.findall(r'class="best">([^<]*)<', (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert marked == ["0.100", "0.900"]


@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20))
def test_no_text_becomes_markup(tmp_path_factory, text):
    hostile = f"{text}<script>alert('{{x}}')</script>&\"$x$"
    picture = np.zeros((2, 2, 3), np.uint8)
    page = a_report(
        tmp_path_factory.mktemp("report") / "report.html",
        title=hostile,
        summary=[(hostile, hostile)],
        tables=[MetricsTable(hostile, {hostile: {"abs_rel": 0.1}}, hostile)],
        curves={hostile: [(0, 1.0), (1, 2.0)]},
        panels=[PictureRow(hostile, [(hostile, picture)])],
        notes=[hostile],
    )
    assert not page.attributes("script")
    assert page.attributes("img")[0]["alt"] == f"{hostile}. {hostile}"
    assert page.attributes("svg")[0]["aria-label"].startswith(f"{hostile}: from 1 at step 0 to 2 at step 1")


@pytest.mark.parametrize("curve", [[], [(0, 1.0)], [(step, float("nan")) for step in range(80)]])
def test_a_curve_without_values_to_draw_is_no_obstacle(tmp_path, curve):
    assert a_report(tmp_path / "report.html", curves={"loss": curve}).attributes("svg")


def test_large_pictures_are_embedded_smaller(tmp_path):
    page = a_report(tmp_path / "r.html", panels=[PictureRow("", [("", np.zeros((375, 1242, 3), np.uint8))])])
    content = base64.b64decode(page.attributes("img")[0]["src"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(content)).size == (832, 251)


def test_every_frame_gets_its_own_figure(tmp_path):
    evaluate(
        ground_plane(),
        frames(),
        PROTOCOLS["simulated"],
        metric_scale=False,
        progress=False,
        on_frame=per_image_figures(tmp_path / "figures"),
    )
    written = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert written == ["0000_drive_0_l_.png", "0001_drive_1_l_.png"]
    with Image.open(tmp_path / "figures" / written[0]) as picture:
        assert picture.width > 2 * 160
        picture.load()


def test_sparse_ground_truth_is_drawn_with_thicker_points():
    truth = np.zeros((21, 21), np.float32)
    truth[10, 10] = 5
    frame = EvaluationFrame("sparse", np.zeros((21, 21, 3), np.uint8), truth)
    result = FrameResult(0, frame, np.full_like(truth, 5), truth > 0, ImageRow("sparse", {}, 1.0))
    drawn = dict(frame_pictures(result))["ground truth"]
    assert (drawn != NO_VALUE).any(axis=2).sum() == 9
