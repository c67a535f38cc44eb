"""A training run from DATA to a released model, and its being resumed."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from egodepth.data.calibrations.finding import with_whole_path
from egodepth.data.configurations import LEARNED_WAYS, TeacherMapsConfig
from egodepth.data.motion import SequenceMotion
from egodepth.data.opening import frame_size, open_training_sets
from egodepth.data.packs.reading import PackOptions
from egodepth.data.packs.writing import PackReport, pack
from egodepth.data.record import TrainingSets
from egodepth.data.samples import PosedDataset, TrainingDataset
from egodepth.data.taught_dataset import taught_sets
from egodepth.data.teacher_maps import EXACT, DepthMaps, open_maps
from egodepth.data.transforms import resize
from egodepth.errors import UserError
from egodepth.files import kept_until_done, write_text
from egodepth.geometry.scale import Scale
from egodepth.locks import only_writer
from egodepth.methods.method import Method
from egodepth.models.folder import MODEL_FOLDER, RUN_FILE
from egodepth.models.foreign import report_licence
from egodepth.models.foreign_teacher import open_as_teacher
from egodepth.models.released import ReleasedModel, deployed, released_recipe, save_model
from egodepth.networks.configurations import NetworkConfig, size_for
from egodepth.networks.statistics import drops, without_drops
from egodepth.recipes import Recipe
from egodepth.recipes.recipe import check_size
from egodepth.recipes.restoring import as_data
from egodepth.scaling.asked import ScaleSource
from egodepth.training.cameras import check_learning, released_camera, started_cameras, with_cameras
from egodepth.training.checkpoints import has_checkpoint
from egodepth.training.fit import check_run_folder, fit
from egodepth.training.mask_picture import write_mask_picture
from egodepth.training.metres import check_metres, write_metres
from egodepth.training.motion_plot import draw_motion
from egodepth.training.run_report import report_run
from egodepth.training.scale import motion_by_depth, motion_by_pose_network, scale_of_posed_samples
from egodepth.training.starting import first_focal, load_first_weights, run_options

log = logging.getLogger("egodepth")

LOADING_OPTIONS = ("workers", "log_every", "validate_every", "checkpoint_every", "checkpoint_minutes", "panels_every")
"""What may change from one part of a run to the next without another result. So may the places where the data lie."""

FRAMES_FOLDER = "frames"
"""Folder of a run for the frames unpacked from its footage."""

CAMERAS_FOLDER = "cameras"
"""In a run's folder: what COLMAP found of the cameras that nobody gave."""

MASK_FILE = "mask.png"
"""In a run's folder: what is left out of the pictures, where anything is."""

MOTION_FILE = "motion.png"
"""In a run's folder: how far the picture moves between neighbours, where that was measured."""

MESSAGES_SHOWN = 10
FIRST_IMAGES = 8
STATISTICS_BATCHES, STATISTICS_BATCH = 4, 8
"""Images that running averages are taken anew from, before validation and release of a network with drops."""


def train(
    name: str, recipe: Recipe, data: Path, run: Path, resume: bool = False, metres: ScaleSource | None = None
) -> Path:
    """Train a recipe on DATA.

    Args:
        name: of the recipe, for the released model's config.
        run: folder for checkpoints, logs, panels and the released model.
        resume: continue a run that was stopped; its options must be the same as then.
        metres: what gives a model from video alone its scale in the end.

    Returns:
        the folder of the released model.

    Raises:
        UserError: the data or an option cannot be used, or another process trains there; nothing was trained then, or
            the last good checkpoint stays.
    """
    recipe = _in_form_of(recipe, data)
    check_size(recipe)
    if metres is not None:
        check_metres(metres, recipe, data)
    check_run_folder(run, resume)
    with _alone_in(run, recipe):
        return _trained(name, recipe, data, run, resume, metres)


def _alone_in(run: Path, recipe: Recipe) -> AbstractContextManager[None]:
    """Keep other trainings out of a run's folder: the first process does, for all that train together.

    On several nodes each has a first one, where nothing tells Lightning of the others before they meet.
    """
    return only_writer(run) if rank_zero_only.rank == 0 and recipe.training.nodes == 1 else nullcontext()


def _trained(name: str, recipe: Recipe, data: Path, run: Path, resume: bool, metres: ScaleSource | None) -> Path:
    recipe, needs = _with_whole_paths(recipe).needs(open_as_teacher)
    recipe = replace(with_cameras(recipe, data), network=_sized_network(recipe, run, resume))
    recipe, maps = _with_maps(recipe, data)
    _check_same_options(name, recipe, data, run, resume)
    views, size = needs.views, needs.size
    sets = open_training_sets(data, recipe.data, recipe.intrinsics, views, *size, cache_folder=run / FRAMES_FOLDER)
    options = _run_options(name, recipe, data) | _fingerprint(sets)
    _check_same_samples(options, data, run, resume)
    if recipe.training.patience is not None and sets.validation is None:
        raise UserError(f"--patience: of {data} nothing is held out that could be watched. Leave it out.")
    training, validation = _taught(sets, maps)
    _report(sets, bool(recipe.data.also))
    if needs.licence is not None:
        rank_zero_only(report_licence)(recipe.teacher, needs.licence)
    _show_mask(sets.first, run / MASK_FILE)
    _show_motion(sets.motion, run / MOTION_FILE)
    lightning.seed_everything(recipe.training.seed, verbose=False)
    networks = recipe.build_networks()
    if needs.references is not None:
        networks["depth"].load_references(needs.references)
    if not (resume and has_checkpoint(run)):
        load_first_weights(recipe, networks)
    images = _first_images(sets.training, FIRST_IMAGES) if recipe.starts_from_images else None
    method = recipe.build_method(networks, needs.teacher, images)
    if recipe.frozen_norms and recipe.start_from is not None:
        method.freeze_norms()
    if needs.start is not None:
        method.remember(needs.start)
    if needs.anchor is not None:
        method.hold_to(needs.anchor)
    if needs.solved is not None:
        method.solve_motions(needs.solved)
    focal = None
    if recipe.intrinsics in LEARNED_WAYS:
        check_learning(sets, recipe, data)
        # A run that goes on finds its cameras in its checkpoint.
        goes_on = resume and has_checkpoint(run)
        cameras = (
            sets.learning
            if goes_on
            else started_cameras(sets, recipe, move=needs.solved is None, folder=run / CAMERAS_FOLDER)
        )
        method.learn_cameras(cameras, recipe.learned_camera)
    elif resume and (run / MODEL_FOLDER).is_dir():
        # A run goes on with the unit that it began with, whatever became of the model that it started from.
        focal = method.focal = ReleasedModel.open(run).config.get("focal")
    else:
        focal = method.focal = first_focal(recipe) or float(sets.first[0].intrinsics[0, 0])
    write_text(run / RUN_FILE, json.dumps(options, indent=2) + "\n")
    steady = _steady(sets.training, networks["depth"], recipe)
    model = run / MODEL_FOLDER

    def release(trained: Method, step: int) -> None:
        provenance = {
            "data": " + ".join(path.name for path in (data, *recipe.data.beside, *recipe.data.also)),
            "sources": views,
            "sides": recipe.data.sides,
            "steps": step,
            "seed": recipe.training.seed,
        }
        licence = needs.licence if maps is None else maps.licence
        if licence is not None:
            provenance["teacher_licence"] = licence
        networks = trained.networks()
        scale = _scale(recipe, networks, sets.first)
        used = networks["depth"] if steady is None else steady(networks["depth"])
        networks["depth"] = deployed(used, recipe.network)
        released = released_recipe(recipe)
        save_model(
            model, name, released, networks, scale, provenance, True, released_camera(sets, trained, recipe, focal)
        )

    fit(method, training, validation, size, recipe.training, run, resume, release, steady)
    try:
        if metres is not None:
            write_metres(metres, model, recipe, data, run / FRAMES_FOLDER)
    finally:
        report_run(name, recipe, run, sets, validation, method)
    return model


def _scale(recipe: Recipe, networks: Mapping[str, nn.Module], dataset: TrainingDataset) -> Scale | None:
    """What one unit of the depth network means, as far as DATA can tell."""
    if not (isinstance(dataset, PosedDataset) and "pose" in networks and "stereo" not in recipe.views):
        return recipe.scale_of_baseline(dataset)
    size = recipe.height, recipe.width
    if recipe.network.multi_frame:
        return scale_of_posed_samples(networks["pose"], motion_by_pose_network, dataset, *size)
    return scale_of_posed_samples(networks["depth"], motion_by_depth, dataset, *size)


def _in_form_of(recipe: Recipe, data: Path) -> Recipe:
    """The recipe for pictures of the form of DATA, where it keeps that."""
    size = frame_size(data, recipe.data) if recipe.keep_aspect else None
    if size is None:
        return recipe
    height, width = size_for(recipe.height, recipe.width, size)
    if (height, width) != (recipe.height, recipe.width):
        _notice("%s: frames are %dx%d, and are seen at %dx%d in their own form.", data, *size[::-1], width, height)
    return replace(recipe, height=height, width=width)


def _with_maps(recipe: Recipe, data: Path) -> tuple[Recipe, DepthMaps | None]:
    """The recipe with what a teacher's depth maps hold, and the maps."""
    if getattr(recipe, "teacher_depth", None) is None:
        return recipe, None
    maps = open_maps(recipe.teacher_depth, data, recipe.teacher_maps)
    return replace(recipe, teacher_maps=TeacherMapsConfig(maps.values, maps.units)), maps


def _taught(sets: TrainingSets, maps: DepthMaps | None) -> tuple[TrainingDataset, TrainingDataset | None]:
    """Both sets with the maps of their frames.

    Raises:
        UserError: the maps cannot teach.
    """
    return (sets.training, sets.validation) if maps is None else taught_sets(sets.training, sets.validation, maps)


def _with_whole_paths(recipe: Recipe) -> Recipe:
    """The recipe with what lies beside DATA (data, a camera, a mask, depth maps) named as it is from any folder."""
    whole = {name: tuple(Path(path).absolute() for path in getattr(recipe.data, name)) for name in ("beside", "also")}
    mask = recipe.data.mask if recipe.data.mask in ("auto", "none") else str(Path(recipe.data.mask).absolute())
    maps = getattr(recipe, "teacher_depth", None)
    if maps not in (None, EXACT):
        recipe = replace(recipe, teacher_depth=str(Path(maps).absolute()))
    return replace(recipe, data=replace(recipe.data, **whole, mask=mask), intrinsics=with_whole_path(recipe.intrinsics))


def pack_data(recipe: Recipe, data: Path, out: Path, workers: int = 0) -> PackReport:
    """Resize the frames of DATA once for a recipe, so that training reads them ready-made.

    Raises:
        UserError: the data cannot be used, `out` holds something else, or another process packs there.
    """
    if recipe.data.offsets == "drawn":
        raise UserError("--data.offsets drawn: a pack holds fixed neighbours. Train on the footage itself.")
    if recipe.data.also:
        raise UserError("--also: a pack holds one data set. Pack each, then train on one with --also the other.")
    recipe = _in_form_of(recipe, data)
    check_size(recipe)
    recipe, needs = _with_whole_paths(recipe).needs(open_as_teacher)
    recipe = with_cameras(recipe, data)
    config = recipe.data
    chosen = config.split, config.stride, config.crop, config.sides
    options = PackOptions(needs.views, *needs.size, recipe.intrinsics, *chosen)
    with only_writer(out), kept_until_done(out.with_name(f".{out.name}.frames")) as frames:
        sets = open_training_sets(data, config, recipe.intrinsics, needs.views, *needs.size, cache_folder=frames)
        return pack(out, (data, *config.beside), sets.training, sets.validation, options, sets.left_out, workers)


def _first_images(dataset: TrainingDataset, count: int) -> torch.Tensor:
    """So many targets (B, 3, H, W) in [0, 1], or as there are, spread over the training set."""
    places = range(0, len(dataset), max(1, len(dataset) // count))
    return torch.stack([dataset[place].target for place in places][:count]).float() / 255


def _steady(dataset: TrainingDataset, network: nn.Module, recipe: Recipe) -> Callable[[nn.Module], nn.Module] | None:
    """From the depth network in training to its copy for use; None where training drops nothing."""
    if not drops(network):
        return None
    images = resize(_first_images(dataset, STATISTICS_BATCHES * STATISTICS_BATCH), recipe.height, recipe.width)
    batches = images.split(STATISTICS_BATCH)

    def steady(trained: nn.Module) -> nn.Module:
        device = next(trained.parameters()).device
        return without_drops(trained, [batch.to(device) for batch in batches])

    return steady


@rank_zero_only
def _report(sets: TrainingSets, also: bool) -> None:
    """Say what there is to train on, and which frames are left out, by name."""
    validation = len(sets.validation) if sets.validation is not None else 0
    log.info("%d samples to train on, %d to validate on.", len(sets.training), validation)
    if also and len(sets.first) < len(sets.training):
        log.info("%d of them are of the data of --also.", len(sets.training) - len(sets.first))
    for message in sets.left_out[:MESSAGES_SHOWN]:
        log.warning("left out: %s", message)
    if len(sets.left_out) > MESSAGES_SHOWN:
        log.warning("left out: %d more.", len(sets.left_out) - MESSAGES_SHOWN)


@rank_zero_only
def _show_mask(dataset: TrainingDataset, file: Path) -> None:
    """Say which part of the pictures is left out, and show it over a frame from the middle."""
    sample = dataset[len(dataset) // 2]
    if sample.mask is None:
        return
    write_mask_picture(file, sample.target, sample.mask)
    share = 1 - float(sample.mask.float().mean())
    log.info("%.1f %% of the picture is left out: see %s; --mask none takes it in.", 100 * share, file)


@rank_zero_only
def _show_motion(sequences: Sequence[SequenceMotion], file: Path) -> None:
    """Say how far neighbours lie apart, and draw it."""
    for sequence in sequences[:MESSAGES_SHOWN]:
        log.info("%s.", sequence.said())
    if sequences:
        draw_motion(sequences[:MESSAGES_SHOWN], file)


def _run_options(name: str, recipe: Recipe, data: Path) -> dict[str, Any]:
    return {"recipe": name, "root": str(data.absolute())} | as_data(recipe)


def _fingerprint(sets: TrainingSets) -> dict[str, Any]:
    """What a run was trained on, wherever that lies: the number of its samples, and a hash of their names."""
    digest = hashlib.sha256()
    for dataset in filter(None, (sets.training, sets.validation)):
        for name in dataset.sample_names():
            digest.update(f"{name}\n".encode(errors="surrogatepass"))  # a name need not be UTF-8
        digest.update(b"\n")
    return {"samples": len(sets.training), "fingerprint": digest.hexdigest()[:16]}


def _check_same_samples(now: Mapping[str, Any], data: Path, run: Path, resume: bool) -> None:
    """Compare the data of a resumed run with those it began with: by their samples, not by where they lie.

    Raises:
        UserError: they are others.
    """
    file = run / RUN_FILE
    if not (resume and file.is_file()):
        return
    before = run_options(run)
    if "fingerprint" in before and before["fingerprint"] != now["fingerprint"]:
        raise UserError(
            f"{run}: the run began with other samples ({before['samples']} of {before['root']}) than {data} now gives "
            f"({now['samples']}). Resume with the data of the first call, or choose another --out."
        )
    if before["root"] not in (now["root"], str(data.resolve())):
        same = "the samples are the same" if "fingerprint" in before else "this run does not say which samples it had"
        _notice("%s: the data were at %s, now %s; %s.", run, before["root"], data, same)


@rank_zero_only
def _notice(message: str, *values: object) -> None:
    log.warning(message, *values)


def _sized_network(recipe: Recipe, run: Path, resume: bool) -> NetworkConfig:
    """The depth network's config for the recipe's pictures.

    That of a run that goes on is for the size that the run says, which earlier versions took from options; and what it
    does not say is as it was then.
    """
    network = recipe.network
    if resume and (run / RUN_FILE).is_file():
        before = run_options(run)["network"]
        if before.get("height") is not None:
            network = network.at_size(before["height"], before["width"])
        network = replace(network, **{name: value for name, value in network.before.items() if name not in before})
    return network.at_size(recipe.height, recipe.width)


def _check_same_options(name: str, recipe: Recipe, data: Path, run: Path, resume: bool) -> None:
    file = run / RUN_FILE
    if not (resume and file.is_file()):
        return
    before = _filled(run_options(run), recipe)
    for option, (then, now) in _differences(before, _run_options(name, recipe, data)).items():
        moved = option == "root" or (option in ("data.also", "data.beside") and len(then or ()) == len(now))
        # Until neighbours were chosen by motion, the next frames were the default.
        moved = moved or (option == "data.stride" and (then, now) == (1, None))
        unread = option.split(".")[0] in recipe.unused_options()
        free = option.split(".")[-1] in (*LOADING_OPTIONS, "source")
        # Patience counts validations.
        free = free and (option != "training.validate_every" or recipe.training.patience is None)
        if not moved and not unread and not free:
            raise UserError(
                f"{run}: the run has {option} {then}, this call {now}. Resume with the options of the first call, "
                "or choose another --out."
            )


def _filled(before: Mapping[str, Any], configuration: Any) -> dict[str, Any]:
    """The options of a run, with those that it was made before as its training was: as their classes have them."""
    filled = dict(configuration.before if isinstance(configuration, NetworkConfig) else {}) | dict(before)
    for entry in fields(configuration):
        value = getattr(configuration, entry.name)
        if is_dataclass(value) and isinstance(before.get(entry.name), Mapping):
            filled[entry.name] = _filled(before[entry.name], value)
        elif entry.name not in filled and entry.default is not MISSING:
            filled[entry.name] = as_data(entry.default)
    return filled


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for key in now:
        then, value = before.get(key), now[key]
        if isinstance(value, Mapping) and isinstance(then, Mapping):
            found |= _differences(then, value, f"{prefix}{key}.")
        elif then != value:
            found[prefix + key] = then, value
    return found
