"""`egodepth evaluate --report`: a page with the figures, and pictures of the best and the worst frame."""

import json
import re

from tests.command_line import only_line, run


def test_the_page_shows_the_figures_and_frames_in_words_too(drive, tmp_path):
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    arguments = ["evaluate", "starter", drive, "--protocol", "simulated", "--json", figures, "--report", page]
    assert run(*arguments) == 0
    html, result = page.read_text(), json.loads(figures.read_text())
    assert all(f'<td class="">{value:.3f}</td>' in html for value in result["metrics"].values())
    ordered = sorted(result["per_image"], key=lambda row: row["metrics"]["abs_rel"])
    assert len(ordered) == 2  # so that there is no middle
    for word, row in zip(("best", "worst"), ordered, strict=True):
        caption = f"The {word} of {len(ordered)} frames: {row['name']}, abs_rel {row['metrics']['abs_rel']:.3f}"
        assert html.count(f"<figcaption>{caption}</figcaption>") == 1
        assert f'alt="predicted depth. {caption}"' in html
    assert len(re.findall('<img alt="[^"]+" src="data:image/png;base64,', html)) == 4 * 2
    assert "http" not in html


def test_a_page_of_another_kind_is_refused_before_anything_is_evaluated(drive, tmp_path, capsys):
    assert run("evaluate", "starter", drive, "--protocol", "simulated", "--report", tmp_path / "page.pdf") == 2
    assert "End its name in .html" in only_line(capsys.readouterr().err)
