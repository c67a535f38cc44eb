"""Ending a training by held-out view synthesis: when it ends, what it releases, and that a resumed run ends alike."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from egodepth.errors import UserError
from egodepth.recipes import RECIPES, Recipe
from egodepth.training.checkpoints import LAST_CHECKPOINT, WholeFileCheckpoints
from egodepth.training.runs import train
from egodepth.training.starting import load_trained_networks
from tests.training.test_training import log_of, small_recipe

STEPS, EVERY, PATIENCE = 13, 2, 2


def impatient(**changes) -> Recipe:
    """Steps so long that held-out frames are soon explained worse."""
    recipe = small_recipe()
    training = replace(
        recipe.training, steps=STEPS, validate_every=EVERY, patience=PATIENCE, checkpoint_every=1, panels_every=100
    )
    optimiser = replace(recipe.optimiser, learning_rate=3e-3)
    return replace(recipe, training=replace(training, **changes), optimiser=optimiser)


def errors_of(run: Path) -> dict[int, float]:
    """What each validation of a run found, by step."""
    rows = [row for row in log_of(run) if row.get("validation_synthesis")]
    return {int(row["step"]) + 1: float(row["validation_synthesis"]) for row in rows}


def checkpoint(run: Path) -> dict:
    return torch.load(run / LAST_CHECKPOINT, weights_only=True)


def released(run: Path) -> tuple[int, dict[str, torch.Tensor]]:
    config = json.loads((run / "model" / "config.json").read_text())
    return config["provenance"]["steps"], load_file(run / "model" / "model.safetensors")


def end(errors: dict[int, float], patience: int) -> tuple[int, int]:
    """The step at which a training ends, and that of its best validation."""
    best, worse = None, 0
    for step, error in errors.items():
        best, worse = (step, 0) if best is None or error < errors[best] else (best, worse + 1)
        if worse == patience:
            return step, best
    return step, best


class Killed(Exception):
    """What ends a training in place of a kill."""


def killed_after_saving(step: int, monkeypatch: pytest.MonkeyPatch, *arguments) -> None:
    """Train until the checkpoint of a step is written, and no further."""
    save = WholeFileCheckpoints.save_checkpoint

    def save_and_die(self, content, *others, **more):
        save(self, content, *others, **more)
        if content["global_step"] == step:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(WholeFileCheckpoints, "save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            train(*arguments)


@pytest.fixture(scope="module")
def whole(drive, tmp_path_factory) -> Path:
    """A run that had no patience to its last step."""
    out = tmp_path_factory.mktemp("early") / "run"
    train("monodepth2", impatient(), drive, out)
    return out


def test_training_ends_where_validations_get_no_better_and_releases_the_best(drive, whole, tmp_path, monkeypatch):
    errors = errors_of(whole)
    last, best = end(errors, PATIENCE)
    assert max(errors) == last < STEPS, "the run must end early to test anything"
    assert checkpoint(whole)["global_step"] == last
    step, weights = released(whole)
    assert step == best < last
    # The same training without patience, as it stood at the best step.
    arguments = "monodepth2", impatient(patience=None), drive, tmp_path / "run"
    killed_after_saving(best, monkeypatch, *arguments)
    step, expected = released(tmp_path / "run")
    assert step == best
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_end_is_one_line(drive, tmp_path, caplog):
    with caplog.at_level("INFO", logger="egodepth"):
        train("monodepth2", impatient(steps=2), drive, tmp_path / "run")
    [said] = [record.getMessage() for record in caplog.records if "are released" in record.getMessage()]
    assert said.startswith("Training ends after step 2 of 2. The weights of step 2 are released, which had 0.")


# At a step that is validated, whose checkpoint waits for it, and at one that is not.
@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_killed_run_ends_as_one_that_was_not(drive, whole, tmp_path, monkeypatch, step):
    arguments = "monodepth2", impatient(), drive, tmp_path / "run"
    killed_after_saving(step, monkeypatch, *arguments)
    train(*arguments, resume=True)
    assert errors_of(tmp_path / "run") == errors_of(whole)
    assert released(tmp_path / "run")[0] == released(whole)[0]
    found, expected = checkpoint(tmp_path / "run"), checkpoint(whole)
    assert found["global_step"] == expected["global_step"]
    found, expected = ({**each["callbacks"]["EarlyStop"], **each} for each in (found, expected))
    for part in ("weights", "state_dict"):
        assert all(torch.equal(found[part][name], expected[part][name]) for name in expected[part])
    assert all(found[name] == expected[name] for name in ("best", "best_step", "worse", "latest"))


def test_a_run_that_ended_early_does_not_go_on_when_it_is_resumed(drive, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    train("monodepth2", impatient(), drive, out, resume=True)
    assert errors_of(out) == errors_of(whole)
    assert checkpoint(out)["global_step"] == checkpoint(whole)["global_step"]
    with pytest.raises(UserError, match=r"validate_every 2, this call 3"):
        train("monodepth2", impatient(validate_every=3), drive, out, resume=True)


def test_the_last_step_is_validated_whatever_the_interval(drive, tmp_path):
    train("monodepth2", impatient(steps=3), drive, tmp_path / "run")
    assert list(errors_of(tmp_path / "run")) == [2, 3]


def test_a_training_from_such_a_run_starts_with_the_weights_that_it_released(whole):
    best = checkpoint(whole)["callbacks"]["EarlyStop"]["weights"]
    for part, network in load_trained_networks(str(whole)).items():
        assert all(torch.equal(tensor, best[f"{part}_network.{name}"]) for name, tensor in network.state_dict().items())


def test_patience_is_refused_where_nothing_tells_of_view_synthesis(drive, tmp_path):
    multi_frame = RECIPES["manydepth"]
    with pytest.raises(UserError, match="--patience: this recipe"):
        replace(multi_frame, training=replace(multi_frame.training, patience=3))
    recipe = impatient()
    taught = replace(recipe, teacher_depth="exact", taught=replace(recipe.taught, synthesis_weight=0.0))
    with pytest.raises(UserError, match="--patience: without view synthesis"):
        train("monodepth2", taught, drive, tmp_path / "run")
    [listed] = drive.rglob("train_files.txt")
    alone = replace(recipe, data=replace(recipe.data, split=str(listed)))
    with pytest.raises(UserError, match=r"--patience: of .* nothing is held out"):
        train("monodepth2", alone, drive, tmp_path / "run")
