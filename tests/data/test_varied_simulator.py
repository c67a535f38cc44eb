"""Varied drives: their geometry against itself, their bounds, and their files read back."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from egodepth.data.kitti.raw import KittiRaw, KittiTree, training_lines
from egodepth.data.simulator.casting import GROUND, Hits, ShadowMap, StereoView, cast_pair, cast_shadows
from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.profile import Profile
from egodepth.data.simulator.shading import light_pair
from egodepth.data.simulator.solids import BOX
from egodepth.data.simulator.street import GROUND_REACH_M, Street
from egodepth.data.simulator.textures import Atlas
from egodepth.data.simulator.varied_openings import JUNCTION_M
from egodepth.data.simulator.varied_street import STEEPEST, build_varied_street
from egodepth.data.simulator.varied_tiles import paint_varied_atlas
from egodepth.data.simulator.variety import CAMERA_HEIGHT_M, DAYS, FIELD_OF_VIEW_DEGREES, PLACES, Scene, draw_scene
from egodepth.data.simulator.writer import MARKER, simulate, stereo_view
from egodepth.errors import UserError
from egodepth.geometry.poses import stereo_transform
from tests.command_line import run
from tests.data.test_simulator import digests
from tests.view_synthesis import synthesise_view

SMALL = SimulatorConfig(frames=14, height=64, width=192, seed=5, varied=True, moving_cars=True, drives=3)


# --- geometry ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drive:
    """A varied street and its cameras, without files and without a sensor."""

    scene: Scene
    view: StereoView
    street: Street
    random: np.random.Generator

    @classmethod
    def of(cls, seed: int, number: int, moving: bool = False) -> "Drive":
        scene = draw_scene(seed, number)
        random = np.random.default_rng([seed, number])
        street = build_varied_street(random, scene, frames=6, frames_per_second=10.0, moving=moving)
        return cls(scene, stereo_view(SimulatorConfig(height=96, width=312), scene), street, random)

    @cached_property
    def atlas(self) -> Atlas:
        return paint_varied_atlas(self.random, self.scene)

    @cached_property
    def shadows(self) -> ShadowMap:
        return cast_shadows(self.street)

    def hits(self, frame: int) -> Hits:
        return cast_pair(self.view, self.street.poses[frame], self.street.solids_at(frame), self.street.road.profile)

    def lit(self, frame: int) -> "Lit":
        hits, street = self.hits(frame), self.street
        solids = street.solids_at(frame)
        return Lit(hits, light_pair(self.view, street.poses[frame], solids, hits, self.atlas, self.shadows))

    def intrinsics(self) -> np.ndarray:
        view = self.view
        return np.array([[view.focal_px, 0, view.centre_x_px], [0, view.focal_px, view.centre_y_px], [0, 0, 1.0]])

    def points(self, depth: np.ndarray) -> np.ndarray:
        """Points (3, H, W) in the camera's axes."""
        x, y = self.view.rays()
        return np.stack([x[None] * depth, y[:, None] * depth, depth])

    def shown_at(self, points: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether points (3, N) fall into a picture, and the depth that it has there."""
        place = self.intrinsics() @ points
        column, row = np.rint(place[:2] / place[2]).astype(int)
        inside = (points[2] > 0.3) & (column >= 0) & (column < self.view.width) & (row >= 0) & (row < self.view.height)
        return inside, depth[np.where(inside, row, 0), np.where(inside, column, 0)]


@dataclass(frozen=True)
class Lit:
    """What both eyes see at a frame."""

    hits: Hits
    pictures: np.ndarray


def hilly_and_winding(seed: int, count: int) -> list[int]:
    """The numbers of a seed's drives that have the most of both."""
    scenes = {number: draw_scene(seed, number) for number in range(1, 19)}
    return sorted(scenes, key=lambda number: scenes[number].hills_m * scenes[number].bends)[-count:]


def errors(drive: Drive, frames: dict[int, Lit], source: tuple[int, int], scale: float = 1.0) -> tuple[float, float]:
    """Mean colour difference of what frame 2 and a source (frame, eye) both see, and its share of what is in view."""
    frame, eye = source
    street, near, far = drive.street, frames[2].hits, frames[frame].hits
    transform = np.linalg.inv(street.poses[frame]) @ street.poses[2]
    if eye:
        transform = stereo_transform(torch.tensor([-drive.view.baseline_m]))[0].double().numpy() @ transform
    points = drive.points(near.depth[0]).reshape(3, -1)
    seen = np.isfinite(points).all(axis=0)
    points = transform[:3, :3] @ np.where(seen, points, 1) + transform[:3, 3:]
    inside, there = drive.shown_at(points, far.depth[eye])
    inside &= seen
    seen = inside & (np.abs(there - points[2]) < 0.02 * points[2])
    depth = torch.from_numpy(np.where(np.isfinite(near.depth[0]), near.depth[0] * scale, 1e3)).float()[None, None]
    pictures = frames[2].pictures[0], frames[frame].pictures[eye]
    target, other = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 for picture in pictures)
    intrinsics = torch.from_numpy(drive.intrinsics()).float()[None]
    warped = synthesise_view(other, depth, intrinsics, torch.from_numpy(transform).float()[None])
    difference = (warped - target).abs().mean(dim=1).flatten()[torch.from_numpy(seen)]
    return float(difference.mean()), float(seen.sum() / inside.sum())


@pytest.mark.parametrize("number", hilly_and_winding(2, 3))
def test_the_partner_and_the_neighbours_warp_into_a_frame_on_hills_and_in_bends(number: int) -> None:
    drive = Drive.of(2, number)
    assert not drive.street.road.profile.flat
    frames = {frame: drive.lit(frame) for frame in (1, 2, 3)}
    for source in ((2, 1), (1, 0), (3, 0)):
        exact, share = errors(drive, frames, source)
        wrong, _ = errors(drive, frames, source, scale=1.25)
        assert exact < 0.04
        assert exact < 0.85 * wrong
        assert share > 0.65


def test_what_moves_has_the_depth_of_where_it_is() -> None:
    drive = Drive.of(1, 12, moving=True)
    street = drive.street
    first, then = street.solids_at(1), street.solids_at(3)
    hits, later = drive.hits(1), drive.hits(3)
    moving = hits.solid[0] >= len(street.solids)
    assert moving.mean() > 0.01
    index = hits.solid[0][moving]
    points = np.append(drive.points(hits.depth[0])[:, moving], np.ones((1, moving.sum())), axis=0)
    world = (street.poses[1] @ points)[:3]
    own = np.einsum("nij,in->jn", first.rotation[index], world - first.centre[index].T)
    assert np.abs(own / first.half[index].T).max() < 1.001 + 0.001 / first.half[index].min()

    moved = np.einsum("nij,jn->in", then.rotation[index], own) + then.centre[index].T
    share = {}
    for name, place in (("moved", moved), ("stood still", world)):
        seen_from = (np.linalg.inv(street.poses[3]) @ np.append(place, np.ones((1, len(index))), axis=0))[:3]
        inside, there = drive.shown_at(seen_from, later.depth[0])
        share[name] = (np.abs(there - seen_from[2]) < 0.02 * seen_from[2])[inside].mean()
    assert share["moved"] > 0.75
    assert share["stood still"] < 0.75


@pytest.mark.parametrize("number", hilly_and_winding(4, 2))
def test_the_ground_has_the_height_of_its_profile(number: int) -> None:
    drive = Drive.of(4, number)
    hits, pose = drive.hits(2), drive.street.poses[2]
    ground = hits.solid[0] == GROUND
    assert ground.mean() > 0.05
    points = drive.points(hits.depth[0])[:, ground]
    world = pose[:3, :3] @ points + pose[:3, 3:]
    error = -world[1] - drive.street.road.profile.height(world[2])
    assert np.abs(error).max() < 0.02
    assert np.abs(np.diff(drive.street.road.profile.heights_m) / 2).max() <= STEEPEST + 1e-9


def paved_beside(street: Street) -> np.ndarray:
    """Indices of the solids that pave ground beside the road."""
    solids = street.solids
    lateral_m = solids.centre[:, 0] - street.road.middle(solids.centre[:, 2])
    return np.flatnonzero((solids.half[:, 1] < 0.02) & (np.abs(lateral_m) > street.layout.kerb_m + 2))


def test_streets_open_to_paved_ground_on_which_no_house_stands() -> None:
    opened = 0
    for number in range(1, 10):
        drive = Drive.of(5, number)
        street, solids, paved = drive.street, drive.street.solids, paved_beside(drive.street)
        is_wall = (solids.kind == BOX) & (solids.half[:, 1] > 1.3) & (solids.taper == 0).all(axis=1)
        # Houses that close the road stand where they will.
        closed_m = np.inf if drive.scene.closed_m is None else street.poses[-1, 2, 3] + drive.scene.closed_m
        walls = np.flatnonzero(is_wall & (solids.centre[:, 2] < closed_m))
        opened += len(paved) > 0
        away = solids.centre[paved][:, None] - solids.centre[walls]
        own = np.einsum("nij,mni->mnj", solids.rotation[walls], away)
        within = np.abs(own[..., [0, 2]]) < solids.half[walls][:, [0, 2]]
        assert not within.all(axis=-1).any(), number
    assert opened >= 7


def travelled(street: Street, frame: int) -> list[np.ndarray]:
    """Who is on the way, as (x, z, heading), in the order of the travellers."""
    found = []
    for traveller in street.travellers:
        solids = traveller.at(street.times_s[frame], street.road)
        middle, ahead = solids.centre.mean(axis=0), solids.rotation[0] @ [0.0, 0.0, 1.0]
        found.append(np.array([middle[0], middle[2], np.arctan2(ahead[0], ahead[2])]))
    return found


def test_vehicles_cross_where_a_street_meets_the_road_and_look_where_they_go() -> None:
    crossing = 0
    for number in range(1, 31):
        scene = draw_scene(6, number)
        if scene.junction_m is None:
            continue
        street = Drive.of(6, number, moving=True).street
        junction_m = street.poses[-1, 2, 3] + scene.junction_m
        for before, after in zip(travelled(street, 0), travelled(street, 4), strict=True):
            step = after[:2] - before[:2]
            # Faster than a walker, and across.
            if abs(step[0]) < 0.75 or abs(step[0]) < 3 * abs(step[1]):
                continue
            if np.abs(before[0] - street.road.middle(before[1])) > 3 * street.layout.kerb_m:
                continue
            crossing += 1
            assert abs(before[1] - junction_m) < JUNCTION_M / 2 + 6
            assert np.sign(np.sin(after[2])) == np.sign(step[0])
    assert crossing > 5


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), number=st.integers(1, 99))
def test_nobody_drives_into_the_camera(seed: int, number: int) -> None:
    street = Drive.of(seed, number, moving=True).street
    for frame, pose in enumerate(street.poses):
        for traveller in street.travellers:
            solids = traveller.at(street.times_s[frame], street.road)
            own = np.einsum("nij,ni->nj", solids.rotation, pose[:3, 3] - solids.centre)
            away = np.linalg.norm(np.maximum(np.abs(own) - solids.half, 0), axis=1)
            assert away.min() > 0.2, (frame, traveller.lateral_m)


@pytest.mark.parametrize("number", hilly_and_winding(5, 2))
def test_paved_ground_lies_on_the_hill(number: int) -> None:
    street = Drive.of(5, number).street
    solids, paved = street.solids, paved_beside(street)
    assert len(paved) > 20
    corners = solids.half[paved][:, None] * np.array([[x, -1, z] for x in (-1, 1) for z in (-1, 1)])
    world = solids.centre[paved][:, None] + np.einsum("nij,nkj->nki", solids.rotation[paved], corners)
    assert np.abs(-world[..., 1] - street.road.profile.height(world[..., 2])).max() < 0.15


@settings(max_examples=60, deadline=None)
@given(
    heights=st.lists(st.floats(-6, 6), min_size=4, max_size=30),
    height_m=st.floats(0.5, 4),
    seed=st.integers(0, 1000),
)
def test_a_ray_meets_the_profile_where_it_first_goes_under_it(heights: list, height_m: float, seed: int) -> None:
    knots = 10.0 * np.arange(len(heights)) - 15.0
    profile = Profile(knots, np.array(heights))
    random = np.random.default_rng(seed)
    origin = np.array([0.0, -profile.height(1.0) - height_m, 1.0])
    down, ahead = random.uniform(-0.5, 0.8, 40), random.choice([-1, 1], 40) * random.uniform(0.2, 1, 40)
    met = profile.meet(origin, np.float32(down), np.float32(ahead))
    for t, dy, dz in zip(met, down, ahead, strict=True):
        reach = (knots[-1] - 1.0) / dz if dz > 0 else (knots[0] - 1.0) / dz
        steps = np.linspace(0, min(t, reach) * (1 - 1e-3), 400)
        above = -(origin[1] + steps * dy) - profile.height(origin[2] + steps * dz)
        assert above.min() > -0.01
        if np.isfinite(t):
            assert abs(-(origin[1] + t * dy) - profile.height(origin[2] + t * dz)) < 0.01


# --- what is drawn -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), number=st.integers(1, 9999))
def test_cameras_and_roads_stay_within_their_bounds(seed: int, number: int) -> None:
    scene = draw_scene(seed, number)
    view = stereo_view(SimulatorConfig(), scene)
    assert np.deg2rad(FIELD_OF_VIEW_DEGREES[0]) <= scene.field_of_view <= np.deg2rad(FIELD_OF_VIEW_DEGREES[1])
    assert 2 * np.arctan(view.width / 2 / view.focal_px) == pytest.approx(scene.field_of_view)
    assert CAMERA_HEIGHT_M[0] <= scene.mount.height_m <= CAMERA_HEIGHT_M[1]
    assert 0.45 * view.width < view.centre_x_px < 0.55 * view.width
    assert abs(scene.layout.own_lane_m) + 1.2 < scene.layout.kerb_m
    assert np.sign(scene.layout.own_lane_m) == (-1 if scene.left_hand else 1) == -np.sign(scene.layout.oncoming_m)
    assert draw_scene(seed, number) == scene


def test_nine_drives_hold_all_places_and_days_and_both_ends_of_the_lenses() -> None:
    scenes = [draw_scene(0, number) for number in range(1, 10)]
    assert {scene.kind for scene in scenes} == set(PLACES)
    assert {scene.day for scene in scenes} == set(DAYS)
    degrees = [np.rad2deg(scene.field_of_view) for scene in scenes]
    assert min(degrees) < 52
    assert max(degrees) > 98


@given(drives=st.integers(2, 200), more=st.integers(0, 500))
def test_the_drives_share_all_frames(drives: int, more: int) -> None:
    training, tests = SimulatorConfig(frames=4 * drives + more, drives=drives, varied=True).shares()
    assert sum(training) + sum(tests) == 4 * drives + more
    assert len(training) + len(tests) == drives
    assert len(tests) == min(max(1, drives // 4), 8)
    assert min(training) >= 4
    assert min(tests) >= 3


def test_a_plain_world_is_marked_as_it_was_before_there_were_varied_ones(drive: Path) -> None:
    marker = json.loads((drive / MARKER).read_text())
    assert set(marker["config"]) == {
        *("frames", "height", "width", "seed", "baseline_m", "moving_cars", "frames_per_second"),
    }


def test_too_few_frames_for_the_drives_are_refused() -> None:
    with pytest.raises(UserError, match="frames is 20 for 10 drives; choose 40 or more"):
        SimulatorConfig(frames=20, drives=10)


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("varied") / "world", SMALL, progress=False, workers=2)


def test_the_same_seed_gives_the_same_varied_drives_whatever_the_number_of_workers(world: Path, tmp_path: Path) -> None:
    assert digests(simulate(tmp_path / "again", SMALL, progress=False, workers=1)) == digests(world)


def test_each_drive_has_a_date_with_the_calibration_of_its_camera(world: Path) -> None:
    tree = KittiTree(world)
    assert tree.drives() == [f"2011_09_{25 + n}/2011_09_{25 + n}_drive_{n:04d}_sync" for n in (1, 2, 3)]
    focal = []
    for number, folder in enumerate(tree.drives(), start=1):
        projections = tree.calibration(folder).projections
        scene = draw_scene(SMALL.seed, number)
        assert projections["l"][0, 0] == pytest.approx(SMALL.width / 2 / np.tan(scene.field_of_view / 2), rel=1e-5)
        assert projections["l"][0, 2] == pytest.approx(scene.centre[0] * SMALL.width, rel=1e-5)
        shift = projections["l"][0, 3] - projections["r"][0, 3]
        assert shift / projections["l"][0, 0] == pytest.approx(SMALL.baseline_m, rel=1e-5)
        focal.append(projections["l"][0, 0])
        for side in ("l", "r"):
            tree.check_camera(folder, side, tree.find(folder, side, 0))
    assert len({round(value, 2) for value in focal}) == 3


def test_the_readers_take_varied_drives_and_the_look_through_finds_no_fault(world: Path) -> None:
    lines = training_lines(world, None, "train", (-1, 1, "stereo"), "both")
    drives = {line.folder for line in lines}
    assert len(drives) == 2
    frames = KittiRaw(world, lines, (-1, 1, "stereo"), 64, 192, "calibrated")
    assert len(frames) == len(lines)
    assert run("data", "check", str(world)) == 0
    assert json.loads((world / MARKER).read_text())["config"]["drives"] == 3
    test = (world / "splits" / "simulated" / "test_files.txt").read_text().splitlines()
    assert test
    assert all("drive_0003" in line for line in test)


def test_pictures_are_neither_black_nor_burnt_out_and_no_surface_touches_the_lens(world: Path) -> None:
    for file in world.glob("*/*_sync/image_0?/data/*.png"):
        picture = np.asarray(Image.open(file)).astype(float)
        assert 25 < picture.mean() < 235
        assert picture.std() > 8
    for file in world.glob("*/*_sync/proj_depth/groundtruth/image_0?/*.png"):
        depth = np.asarray(Image.open(file)).astype(float) / 256
        assert depth[depth > 0].min() > 0.3
        assert depth.max() < min(GROUND_REACH_M, 256)
        assert (depth > 0).mean() > 0.3
