"""Training through the real command: exact resume, several processes, words about runs that go wrong."""

import csv
import json
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.run import main as torchrun

import egodepth
from egodepth.data.configurations import DataConfig
from egodepth.errors import UserError
from egodepth.recipes import RECIPES, Recipe
from egodepth.training.callbacks import SteadyStatistics
from egodepth.training.checkpoints import LAST_CHECKPOINT
from egodepth.training.runs import pack_data, train
from tests.command_line import TINY, only_line, run
from tests.data.trees import write_frames
from tests.processes import Command, in_two_processes

OPTIONS = [
    "--mode", "mono+stereo", "--height", "64", "--width", "96", "--batch-size", "2", "--pretrained", "none",
    "--network.encoder", TINY, "--pose.encoder", TINY, "--workers", "0", "--log-every", "1",
]  # fmt: skip


def command(drive: Path, out: Path, *more: str) -> list[str]:
    return ["train", "monodepth2", str(drive), "--out", str(out), *OPTIONS, *more]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def log_of(run: Path) -> list[dict[str, str]]:
    """All rows of the CSV logs, part after part."""
    return [row for file in sorted(run.glob("logs/*/metrics.csv")) for row in csv.DictReader(file.open())]


def small_recipe(**changes) -> Recipe:
    recipe = RECIPES["monodepth2"]
    recipe = replace(
        recipe,
        height=64,
        width=96,
        pretrained="none",
        network=replace(recipe.network, encoder=TINY),
        pose=replace(recipe.pose, encoder=TINY),
        training=replace(recipe.training, batch_size=2, steps=2, workers=0, log_every=1),
    )
    return replace(recipe, **changes)


@pytest.fixture(scope="module")
def trained(drive, tmp_path_factory) -> Path:
    """A run of the small recipe that came to its end."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train("monodepth2", small_recipe(), drive, out)
    return out


@pytest.fixture
def finished(trained, tmp_path) -> Path:
    """A copy of it, for tests that change it."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_killed_run_resumes_to_the_same_weights(drive, tmp_path):
    options = ("--steps", "10", "--checkpoint-every", "2")
    assert run(*command(drive, tmp_path / "whole", *options)) == 0

    process = Command(command(drive, tmp_path / "killed", *options), tmp_path / "said.txt")
    process.wait_until((tmp_path / "killed" / LAST_CHECKPOINT).is_file)
    process.end(signal.SIGKILL)
    reached = torch.load(tmp_path / "killed" / LAST_CHECKPOINT, weights_only=True)["global_step"]
    assert 2 <= reached < 10, "the kill came too late to test anything"

    assert run(*command(drive, tmp_path / "killed", *options, "--resume")) == 0
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert [key for key in whole if not torch.equal(whole[key], killed[key])] == []


def test_a_network_with_drops_validates_as_its_copy_without_and_trains_on_as_it_was():
    trained, copy = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    module = SimpleNamespace(depth_network=trained)
    callback = SteadyStatistics(lambda network: copy if network is trained else None)
    callback.on_validation_start(None, module)
    assert module.depth_network is copy
    assert not copy.training
    callback.on_validation_end(None, module)
    assert module.depth_network is trained
    assert trained.training


def test_ctrl_c_stops_a_run_with_one_line_and_a_whole_checkpoint(drive, tmp_path):
    arguments = command(drive, tmp_path / "run", "--steps", "1000", "--checkpoint-every", "1")
    process = Command(arguments, tmp_path / "said.txt")
    process.wait_until((tmp_path / "run" / LAST_CHECKPOINT).is_file)
    assert process.end(signal.SIGINT) == 130, process.said
    assert "after step" in only_line(process.said)
    assert "Traceback" not in process.said
    assert torch.load(tmp_path / "run" / LAST_CHECKPOINT, weights_only=True)["global_step"] >= 1
    assert egodepth.load(tmp_path / "run").predict_depth(torch.rand(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def as_a_node(rank: int, port: int, *words: str) -> None:
    """What `torchrun` does on one machine of two."""
    place = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", "--master-addr=127.0.0.1"]
    torchrun([*place, f"--master-port={port}", *words])


def test_two_nodes_of_torchrun_end_with_equal_weights_and_the_mean_of_their_metrics(drive, tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    in_two_processes(as_a_node, free_port(), str(script), str(drive), str(tmp_path))
    assert egodepth.load(tmp_path / "run").predict_depth(torch.rand(1, 3, 64, 96)).shape == (1, 1, 64, 96)
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["seen"]
    assert not set(first["seen"]) & set(second["seen"]), "the processes must share the samples out"
    judged = first["validation"] + second["validation"]
    expected = sum(loss * count for loss, count in judged) / sum(count for _, count in judged)
    logged = [float(row["validation_loss"]) for row in log_of(tmp_path / "run") if row.get("validation_loss")]
    assert logged[-1] == pytest.approx(expected, rel=1e-5)
    assert len(judged) >= 2


def test_neighbours_of_footage_are_drawn_in_training(tmp_path, caplog):
    """That a resumed run draws the same follows from test_footage: by seed and step."""
    frames = write_frames(tmp_path / "frames", [number / 4 for number in range(20)], (64, 96))
    caplog.set_level("INFO", logger="egodepth")
    for offsets in ("nearest", "drawn"):
        recipe = small_recipe(intrinsics="fov=60", data=DataConfig(offsets=offsets, mask="none"))
        train("monodepth2", recipe, frames, tmp_path / offsets)
    assert "neighbours are drawn for each sample and epoch from 2 frames to 5 frames away" in caplog.text
    nearest, drawn = weights(tmp_path / "nearest"), weights(tmp_path / "drawn")
    assert not all(torch.equal(nearest[name], drawn[name]) for name in nearest)


def test_drawn_neighbours_are_refused_where_they_are_given(drive, tmp_path):
    recipe = small_recipe(data=DataConfig(offsets="drawn"))
    with pytest.raises(UserError, match="drawn: is for footage; those of simulated data are given"):
        train("monodepth2", recipe, drive, tmp_path / "run")
    with pytest.raises(UserError, match="a pack holds fixed neighbours"):
        pack_data(recipe, drive, tmp_path / "pack")


@pytest.mark.parametrize("mode", ["mono", "stereo", "mono+stereo"])
def test_every_mode_trains_and_releases_a_model(drive, tmp_path, mode):
    model = train("monodepth2", small_recipe(mode=mode), drive, tmp_path / "run")
    predictor = egodepth.load(model)
    assert predictor.metres_per_unit == (None if mode == "mono" else 5.4)
    config = json.loads((model / "config.json").read_text())
    assert (config["pose"] is None) == (mode == "stereo")
    assert predictor.predict_depth(torch.rand(1, 3, 50, 70)).shape == (1, 1, 50, 70)
    rows = log_of(tmp_path / "run")
    columns = {key for row in rows for key, value in row.items() if value}
    expected = {"loss", "loss_scale_3", "reprojected_scale_0", "learning_rate", "images_per_second", "validation_loss"}
    assert expected <= columns
    assert list((tmp_path / "run" / "panels").glob("*.png"))
    assert list((tmp_path / "run").glob("tensorboard/*/events*"))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(drive, trained, tmp_path):
    recipe, runs = small_recipe(), {"one": weights(trained)}
    for name, seed in (("again", recipe.training.seed), ("other", recipe.training.seed + 1)):
        train("monodepth2", replace(recipe, training=replace(recipe.training, seed=seed)), drive, tmp_path / name)
        runs[name] = weights(tmp_path / name)
    assert all(torch.equal(runs["one"][key], runs["again"][key]) for key in runs["one"])
    # Further apart than the order of the samples can take them in so few steps: they began elsewhere.
    apart = max(float((runs["one"][key] - runs["other"][key]).abs().max()) for key in runs["one"] if "decoder" in key)
    assert apart > 100 * recipe.optimiser.learning_rate


def test_the_learning_rate_drops_after_three_quarters_of_the_steps(drive, tmp_path):
    recipe = small_recipe()
    train("monodepth2", replace(recipe, training=replace(recipe.training, steps=8)), drive, tmp_path / "run")
    rates = [float(row["learning_rate"]) for row in log_of(tmp_path / "run") if row.get("learning_rate")]
    # A row is written after its step, when the schedule has moved on.
    assert rates == pytest.approx([1e-4] * 5 + [1e-5] * 3)


def test_half_precision_networks_train(drive, tmp_path):
    recipe = small_recipe()
    model = train(
        "monodepth2",
        replace(recipe, training=replace(recipe.training, precision="bf16-mixed")),
        drive,
        tmp_path / "run",
    )
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(model.parent).values())


def test_half_precision_moves_dilated_convolutions_as_full_precision_does(drive, tmp_path):
    first_step = {}
    for precision in ("32-true", "bf16-mixed"):
        recipe = small_recipe(height=128, width=256, network=RECIPES["small-depth"].network)
        training = replace(recipe.training, precision=precision, steps=1)
        train("monodepth2", replace(recipe, training=training), drive, tmp_path / precision)
        state = torch.load(tmp_path / precision / LAST_CHECKPOINT, weights_only=True)["optimizer_states"][0]["state"]
        first_step[precision] = [each["exp_avg"].flatten() for each in state.values()]
    # A depthwise convolution with dilation once had gradients of 1e33 in bfloat16.
    for full, half in zip(*first_step.values(), strict=True):
        assert (full - half).norm() <= 0.5 * full.norm() + 1e-6


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_good_checkpoint(drive, tmp_path):
    recipe = small_recipe()
    training = replace(recipe.training, steps=4, checkpoint_every=1)
    # Adam's first step is as long as the learning rate, so the second loss cannot be a number.
    optimiser = replace(recipe.optimiser, learning_rate=1e30)
    with pytest.raises(UserError, match=r"not a number any more.*last\.ckpt.*learning-rate"):
        train("monodepth2", replace(recipe, training=training, optimiser=optimiser), drive, tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in kept["state_dict"].values())


def test_a_finished_run_is_not_trained_over(drive, finished):
    with pytest.raises(UserError, match="--resume"):
        train("monodepth2", small_recipe(), drive, finished)


def test_a_run_is_not_resumed_with_other_options(drive, finished):
    with pytest.raises(UserError, match=r"mode mono, this call stereo"):
        train("monodepth2", small_recipe(mode="stereo"), drive, finished, resume=True)


def test_a_run_whose_data_were_moved_is_resumed_with_a_notice(drive, finished, tmp_path, caplog):
    moved, link = tmp_path / "moved", tmp_path / "link"
    shutil.copytree(drive, moved)
    train("monodepth2", small_recipe(), moved, finished, resume=True)
    [notice] = [record.getMessage() for record in caplog.records if "the samples are the same" in record.getMessage()]
    assert str(drive) in notice
    assert str(moved) in notice
    link.symlink_to(moved)
    train("monodepth2", small_recipe(), link, finished, resume=True)
    assert json.loads((finished / "run.json").read_text())["root"] == str(link)


def test_a_run_without_a_fingerprint_is_resumed_with_data_anywhere(drive, finished, caplog):
    file = finished / "run.json"
    options = json.loads(file.read_text())
    del options["fingerprint"], options["samples"]
    file.write_text(json.dumps(options | {"root": "/elsewhere/drive"}))
    train("monodepth2", small_recipe(), drive, finished, resume=True)
    assert "does not say which samples it had" in caplog.text


def test_a_run_is_not_resumed_with_other_samples(drive, finished, tmp_path):
    fewer = tmp_path / "fewer"
    shutil.copytree(drive, fewer)
    [listed] = fewer.rglob("train_files.txt")
    listed.write_text("".join(listed.read_text().splitlines(True)[3:]))
    with pytest.raises(UserError, match=r"began with other samples \(\d+ of .*Resume with the data of the first call"):
        train("monodepth2", small_recipe(), fewer, finished, resume=True)


def test_a_size_that_is_not_a_multiple_of_32_is_refused_with_the_nearest_one(drive, tmp_path):
    with pytest.raises(UserError, match=r"--height 100.*Take 96"):
        train("monodepth2", small_recipe(height=100), drive, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stuck_loss_is_said_in_plain_words(caplog):
    from types import SimpleNamespace

    from egodepth.training.callbacks import LossWatch

    watch = LossWatch(steps=1000)
    module = SimpleNamespace(depth_variation=torch.tensor(0.5))
    with caplog.at_level("WARNING", logger="egodepth"):
        for step in range(1, 1001):
            loss = torch.tensor(max(0.3 - step / 1000, 0.1))
            watch.on_train_batch_end(SimpleNamespace(global_step=step), module, {"loss": loss})
    assert [record.message for record in caplog.records if "has not fallen since step 300" in record.message]
    assert len(caplog.records) == 1


def test_a_collapsed_depth_is_said_in_plain_words(caplog):
    from types import SimpleNamespace

    from egodepth.training.callbacks import LossWatch

    watch = LossWatch(steps=100)
    with caplog.at_level("WARNING", logger="egodepth"):
        for step in range(1, 101):
            module = SimpleNamespace(depth_variation=torch.tensor(1e-5))
            watch.on_train_batch_end(SimpleNamespace(global_step=step), module, {"loss": torch.tensor(1.0 / step)})
    assert ["collapsed" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize(("shares", "named"), [((0.2, 0.1), "near end"), ((0.0, 0.6), "far end"), ((0.01, 0.3), None)])
def test_depth_that_drifts_to_an_end_of_its_range_is_said_once(caplog, shares, named):
    from types import SimpleNamespace

    from egodepth.training.callbacks import BorderWatch

    logged = {}
    watch = BorderWatch(steps=1000)
    module = SimpleNamespace(
        border_shares=torch.tensor(shares), log=lambda name, value, batch_size: logged.update({name: float(value)})
    )
    with caplog.at_level("WARNING", logger="egodepth"):
        for step in range(1, 1001):
            watch.on_train_batch_end(SimpleNamespace(global_step=step, log_every_n_steps=25), module)
            if step == 450:  # a run that is stopped and resumed goes on counting
                state, watch = watch.state_dict(), BorderWatch(steps=1000)
                watch.load_state_dict(state)
    assert logged == pytest.approx({"share_at_near_border": shares[0], "share_at_far_border": shares[1]})
    assert [named in record.message for record in caplog.records] == ([True] if named else [])
