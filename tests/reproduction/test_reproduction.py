"""The published rows, reproducing one, and the page of results that is made from measurements."""

import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.results_page import results_page, write_results_page
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import EvaluationResult
from egodepth.evaluation.metrics import SEVEN
from egodepth.evaluation.protocols import PROTOCOLS
from egodepth.recipes import RECIPES, Recipe
from egodepth.reproduction import published
from egodepth.reproduction.measured import Evaluated, Measured, read_measured, record, write_measured
from egodepth.reproduction.published import PublishedRow, compare, papers, published_rows, row_named, row_recipe
from egodepth.reproduction.reproduce import reproduce, rows_table, train_row
from tests.command_line import TINY_ROW
from tests.data.trees import write_cityscapes_pair

DOCS = Path(__file__).parents[2] / "docs"
ROWS = list(published_rows().values())


def without_poses(options: tuple[str, ...]) -> tuple[str, ...]:
    """Options without that of the pose network, which pairs alone do not have."""
    place = options.index("--pose.encoder")
    return options[:place] + options[place + 2 :]


@pytest.fixture
def rows(monkeypatch) -> dict[str, PublishedRow]:
    """Rows that take seconds, in place of the published ones."""
    tiny = {
        "tiny": TINY_ROW,
        "tiny-pp": replace(TINY_ROW, id="tiny-pp", post_process=True),
        "tiny-from": replace(TINY_ROW, id="tiny-from", needs={"--from": "tiny"}),
        "tiny-elsewhere": replace(TINY_ROW, id="tiny-elsewhere", test_data="make3d", protocol="make3d"),
        "tiny-joint": replace(
            TINY_ROW,
            id="tiny-joint",
            options=(*without_poses(TINY_ROW.options), "--mode", "stereo"),
            scale="stereo baseline",
            also=("cityscapes",),
        ),
        "tiny-ladder": replace(TINY_ROW, id="tiny-ladder", recipe="rprdepth", options=("--all",)),
        "tiny-never": replace(TINY_ROW, id="tiny-never", unavailable="its pencil is lost"),
    }
    monkeypatch.setattr(published, "published_rows", lambda: tiny)
    return tiny


@functools.cache
def recipe_of(identifier: str) -> Recipe:
    """The recipe of a published row that is given a run wherever it needs one: parsing its options takes a while."""
    row = row_named(identifier)
    return row_recipe(row, [word for option in row.needs for word in (option, "RUN")])


# --- the rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_published_row_names_a_recipe_with_options_and_a_protocol_that_exist(row):
    assert row.recipe in RECIPES
    assert row.paper in papers()
    assert set(row.figures) <= set(PROTOCOLS[row.protocol].metrics)
    recipe = recipe_of(row.id)
    assert row.size == f"{recipe.width}x{recipe.height}"
    assert recipe.frame_size > (0, 0)
    for option, other in row.needs.items():
        assert published_rows()[other].training_data == row.training_data
        assert getattr(recipe, {"--from": "start_from", "--teacher": "teacher"}[option]) == "RUN"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_metres_are_claimed_only_where_training_sees_a_baseline(row):
    recipe = recipe_of(row.id)
    assert row.scale == "median" or "stereo" in recipe.views
    assert getattr(recipe, "mode", recipe.modes[0]) in recipe.modes


def test_rows_of_joint_training_take_the_published_ratio_of_baselines():
    joint = [row for row in ROWS if row.also]
    assert {row.id for row in joint} == {"sdfa-net-cs-k", "sdfa-net-cs-k-pp", "sdfa-net-cs-k-improved-pp"}
    for row in joint:
        assert row.unavailable is None
        assert (row.training_data, row.also) == ("kitti-raw", ("cityscapes",))
        recipe = row_recipe(row, ["--also", "CITYSCAPES"])
        assert (recipe.intrinsics, recipe.data.crop, recipe.data.also) == ("fixed", "sdfa", (Path("CITYSCAPES"),))


def test_rows_of_sdfa_net_train_on_left_images_for_the_published_epochs():
    for row in (row for row in ROWS if row.paper == "sdfa-net"):
        recipe = row_recipe(row, ["--also", "CITYSCAPES"] if row.also else [])
        assert (recipe.data.sides, recipe.data.split) == ("left", "eigen_full")
        whole = row.id != "sdfa-net-stage-1"
        assert (recipe.optimiser.epochs, recipe.optimiser.decay_epochs) == ((50, (30, 40)) if whole else (25, ()))


def test_every_ablation_of_sdfa_net_has_a_row_of_its_own_training():
    rows = [row for row in ROWS if row.paper == "sdfa-net" and row.table.endswith("ablation")]
    assert len(rows) == 14
    assert all(row.unavailable is None for row in rows)
    recipes = [replace(recipe_of(row.id), source="") for row in rows]
    assert all(one != other for place, one in enumerate(recipes) for other in recipes[:place])


def test_rows_of_rprdepth_make_all_that_they_need():
    rows = [row for row in ROWS if row.recipe == "rprdepth"]
    assert len(rows) == 7
    assert all(recipe_of(row.id).all for row in rows)


def test_the_ablations_of_rprdepth_leave_out_what_the_table_leaves_out():
    full, fused, selected, guided = (
        row_recipe(row_named(f"rprdepth-640x192{part}")) for part in ("", "-pdf", "-pdf-agfs", "-rgl")
    )
    assert (full.fusion, full.ladder.selection, full.losses.rich_synthesis) == (True, True, True)
    for recipe in (fused, selected):
        losses = recipe.losses
        assert (losses.rich_synthesis, losses.gradient_weight, losses.auxiliary_weight) == (False, 0, 0)
        assert recipe.fusion
    assert not fused.ladder.selection
    assert selected.ladder.selection
    assert guided == replace(full, fusion=False)
    assert {recipe.ladder.student_batch_size for recipe in (full, fused, selected, guided)} == {16}
    assert "no text at hand" in row_named("rprdepth-cityscapes").unavailable


def test_the_main_tables_of_the_papers_are_there():
    papers_of_rows = {row.paper for row in ROWS if row.unavailable is None}
    assert {"monodepth2", "dna-depth", "diffnet", "manydepth", "sdfa-net", "fa-depth", "rprdepth"} <= papers_of_rows
    assert {row.protocol for row in ROWS} >= {"eigen", "eigen-benchmark", "sdfa", "cityscapes", "ddad-80", "make3d"}


@pytest.mark.parametrize("paper", ["monodepth2", "dna-depth", "diffnet"])
def test_figures_are_those_of_the_page_of_the_system(paper):
    page = (DOCS / "systems" / f"{paper}.md").read_text()
    rows = [row for row in ROWS if row.paper == paper and row.table == "KITTI, Eigen split"]
    rows = [row for row in rows if not (row.post_process and "scratch" in row.id)]  # the page leaves these out
    missing = [row.id for row in rows if " | ".join(f"{row.figures[metric]:.3f}" for metric in SEVEN) not in page]
    assert missing == []


def test_a_row_that_is_none_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match="dna-depth-b0-640x192"):
        row_named("dna-depth-b7")


def test_the_list_of_rows_shows_published_and_measured_figures():
    metrics = dict.fromkeys(SEVEN, 0.123)
    result = Evaluated("eigen", "median", False, 697, metrics, None)
    measured = Measured("mine", "Mine", (result,), row="dna-depth-b0-640x192")
    console = Console(width=200)
    with console.capture() as captured:
        console.print(rows_table(ROWS, [measured]))
    lines = captured.get().splitlines()
    assert len(lines) == 1 + len(ROWS)
    line = next(line for line in lines if line.startswith("dna-depth-b0-640x192 "))
    assert line.split() == [
        *("dna-depth-b0-640x192", "dna-depth-b0", "eigen", "median"),
        *("0.105", "4.489", "0.892", "0.123", "0.123", "0.123"),
    ]
    assert sum("not here" in line for line in lines) == sum(row.unavailable is not None for row in ROWS)


# --- comparing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("abs_rel", "a1", "verdicts"),
    [
        (0.115, 0.877, ("within", "within")),
        (0.1184, 0.871, ("within", "within")),
        (0.119, 0.870, ("worse", "worse")),
        (0.111, 0.884, ("better", "better")),
    ],
)
def test_a_measured_figure_is_within_the_tolerance_or_better_or_worse(abs_rel, a1, verdicts):
    row = replace(
        row_named("monodepth2-640x192-m"),
        figures={"abs_rel": 0.115, "a1": 0.877},
        tolerance={"abs_rel": 0.003, "a1": 0.006},
    )
    comparison = compare(row, {"abs_rel": abs_rel, "a1": a1, "rmse": 1.0})
    assert tuple(compared.verdict for compared in comparison) == verdicts


def test_a_metric_that_was_not_measured_is_refused():
    with pytest.raises(UserError, match="sq_rel"):
        compare(row_named("monodepth2-640x192-m"), {"abs_rel": 0.1})


# --- reproducing -----------------------------------------------------------------------------------------------------


def test_a_row_is_trained_evaluated_compared_and_written_down(drive, tmp_path, rows):
    run = tmp_path / "run"
    reproduction = reproduce("tiny", drive, run)
    verdicts = {compared.metric: compared.verdict for compared in reproduction.comparison}
    assert verdicts["abs_rel"] == "worse"
    assert not reproduction.succeeded

    (measured,) = read_measured(run / "measured")
    assert measured == reproduction.measured
    assert (measured.row, measured.recipe, measured.seed, measured.start) == ("tiny", "monodepth2", 0, "random")
    assert measured.budget["steps"] == measured.budget["batch_size"] == 2
    assert measured.budget["minutes"] >= 0
    assert measured.hardware
    assert "egodepth train monodepth2 DATA --out RUN" in measured.commands[0]
    (result,) = measured.results
    assert (result.protocol, result.scaling, result.images) == ("simulated", "median", 2)

    # The same training, evaluated with the flip: nothing is trained again.
    weights = run / "checkpoints" / "last.ckpt"
    before = weights.stat().st_mtime_ns
    flipped = reproduce("tiny-pp", drive, run)
    assert weights.stat().st_mtime_ns == before
    assert flipped.measured.results[0].post_process
    assert flipped.measured.results[0].metrics != result.metrics
    assert flipped.measured.budget == measured.budget

    # What was measured is within the tolerance of itself.
    rows["tiny"] = replace(TINY_ROW, figures={metric: result.metrics[metric] for metric in ("abs_rel", "a1")})
    again = reproduce("tiny", drive, tmp_path / "evaluated", model=str(run))
    assert again.succeeded
    assert again.measured.budget == {}
    assert not (tmp_path / "evaluated" / "model").exists()


def test_what_a_row_needs_is_trained_first_or_taken_as_given(drive, tmp_path, rows):
    run = tmp_path / "run"
    train_row(rows["tiny-from"], drive, run)
    needed = run / "needed" / "tiny"
    assert (needed / "model" / "config.json").is_file()
    assert json.loads((run / "run.json").read_text())["start_from"] == str(needed)

    other = tmp_path / "other"
    train_row(rows["tiny-from"], drive, other, prepared={"--from": str(needed)})
    assert not (other / "needed").exists()
    assert json.loads((other / "run.json").read_text())["start_from"] == str(needed)


def test_a_row_of_joint_training_asks_for_its_further_data_and_says_how_depth_got_its_scale(drive, tmp_path, rows):
    run, cities = tmp_path / "run", tmp_path / "cities"
    write_cityscapes_pair(cities, "train", "ulm_000001_000019")
    for also, said in (((), "cityscapes data too.*--also"), ((drive,), "simulated data; tiny-joint trains on city")):
        with pytest.raises(UserError, match=said):
            reproduce("tiny-joint", drive, run, also=also)
    assert not run.exists()
    with pytest.raises(UserError, match="one data set"):
        reproduce("tiny", drive, run, also=(cities,))

    measured = reproduce("tiny-joint", drive, run, also=(cities,)).measured
    assert measured.data == f"{drive.name} + cities"
    assert "egodepth train monodepth2 DATA --also CITYSCAPES --out RUN" in measured.commands[0]
    assert json.loads((run / "run.json").read_text())["data"]["also"] == [str(cities)]
    assert measured.results[0].scale == "stereo baseline"
    assert read_measured(run / "measured") == [measured]


def test_a_row_of_a_ladder_is_evaluated_at_its_top(drive, tmp_path, rows, monkeypatch):
    run, asked = tmp_path / "run", []

    def run_pipeline(recipe, data, out):
        asked.append((recipe.all, data, out))
        train_row(rows["tiny"], data, out / "top")
        return out / "top" / "model"

    monkeypatch.setattr("egodepth.prior.pipeline.run_pipeline", run_pipeline)
    first = reproduce("tiny-ladder", drive, run)
    assert asked == [(True, drive, run)]
    assert first.measured.budget["steps"] == 2
    assert first.file == run / "measured" / "tiny-ladder.json"
    # Going on with it does not count the minutes anew.
    assert reproduce("tiny-ladder", drive, run).measured.budget == first.measured.budget


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("tiny-never", "its pencil is lost"),
        ("tiny-elsewhere", "make3d data.*--test-data"),
        ("nothing", "no published row"),
    ],
)
def test_a_row_that_cannot_be_reproduced_is_refused_before_training(drive, tmp_path, rows, row, said):
    with pytest.raises(UserError, match=said):
        reproduce(row, drive, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_of_another_kind_is_refused_before_training(drive, tmp_path):
    with pytest.raises(UserError, match=r"simulated data.*kitti-raw"):
        reproduce("dna-depth-b0-640x192", drive, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_other_commands_is_recorded_with_its_evaluations(drive, tmp_path, rows):
    run, evaluations = tmp_path / "run", []
    train_row(TINY_ROW, drive, run)
    for number, scaling in enumerate(("median", "none")):
        result = EvaluationResult(
            "simulated", scaling, False, dict.fromkeys(SEVEN, 0.5 + number), 1.0, 0.0, (), metres_from="poses"
        )
        evaluations.append(tmp_path / f"{scaling}.json")
        evaluations[-1].write_text(json.dumps(result.to_json()))
    measured = record("mine", run, evaluations, "Tiny", minutes=0.26, table="tiny", commands=["egodepth train …"])
    assert measured.budget == {"steps": 2, "batch_size": 2, "minutes": 0.3}
    assert [result.scaling for result in measured.results] == ["median", "none"]
    file = write_measured(tmp_path / "measured", measured)
    assert file.name == "mine.json"
    assert read_measured(tmp_path / "measured") == [measured]
    page = "<!-- made from measured tiny -->\nold\n<!-- end --> kept <!-- made from variants tiny -->\n<!-- end -->"
    made = results_page(page, ROWS, [measured])
    assert "| Tiny | 2 | 0.3 | median | 0.500 |" in made
    assert "| Tiny | poses | 1.500 |" in made
    assert " kept " in made
    assert "old" not in made


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_of_results_is_what_its_data_give():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    remedy = "make it anew with python -m benchmarks.results_page"
    assert page == results_page(page, ROWS, read_measured(DOCS / "measured")), remedy


def test_every_measurement_stands_on_the_page():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    for measured in read_measured(DOCS / "measured"):
        assert measured.table or measured.row, measured.name
        if measured.table:
            assert f" {measured.table} -->" in page, measured.name
        if measured.row:
            assert measured.row in published_rows(), measured.name


def test_a_measured_row_stands_under_the_published_one(tmp_path):
    metrics = dict.fromkeys(SEVEN, 0.25)
    result = Evaluated("eigen", "median", False, 697, metrics, None)
    measured = Measured(
        "mine", "My Monodepth2", (result,), row="monodepth2-640x192-m", budget={"steps": 1000, "batch_size": 12}
    )
    write_measured(tmp_path / "measured", measured)
    page = tmp_path / "page.md"
    page.write_text("# Mine\n\n<!-- made from published rows -->\n<!-- end -->\n")
    write_results_page(page, ROWS, tmp_path / "measured")
    lines = page.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if "`monodepth2-640x192-m`" in line)
    assert lines[place + 1].startswith("| | My Monodepth2, measured | 1,000 x 12 | median | 0.250 |")
    assert sum("| `" in line for line in lines) == len(ROWS)
    assert lines[0] == "# Mine"


@pytest.mark.parametrize(
    ("scaling", "origin", "post_process", "words"),
    [
        ("median", "poses", False, "median"),
        ("none", "poses", False, "poses"),
        ("none", "stereo baseline", True, "stereo baseline, flip"),
        ("none", None, False, "none"),
    ],
)
def test_every_measured_table_says_how_depth_got_its_scale(scaling, origin, post_process, words):
    result = Evaluated("eigen", scaling, post_process, 697, {"abs_rel": 0.25}, origin)
    measured = Measured("mine", "Mine", (result, result), table="mine", row="monodepth2-640x192-m")
    for what in ("measured mine", "variants mine"):
        page = results_page(f"<!-- made from {what} -->\n<!-- end -->", ROWS, [measured])
        assert "| model | scale | abs_rel |" in page
        assert f"| Mine | {words} | 0.250 |" in page
    page = results_page("<!-- made from published rows -->\n<!-- end -->", ROWS, [measured])
    assert f"| | Mine, measured | | {words} | 0.250 |" in page


@pytest.mark.parametrize(
    ("what", "said"), [("guesses of mine", "is not known"), ("measured nothing", "nothing was measured for it")]
)
def test_a_table_that_cannot_be_made_is_refused(what, said):
    with pytest.raises(UserError, match=said):
        results_page(f"<!-- made from {what} -->\n<!-- end -->", ROWS, [])


@pytest.mark.parametrize("content", ["{", '{"model": "x", "unknown": 1}', '{"model": "x", "results": [{}]}'])
def test_a_broken_measurement_is_refused_by_its_file(tmp_path, content):
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(UserError, match=r"broken\.json"):
        read_measured(tmp_path)
