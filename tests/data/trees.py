"""Writers of tiny trees in the layouts of the data sets, for tests that read, check, train and evaluate on them."""

import json
import struct
import zlib
from collections.abc import Sequence

import av
import numpy as np
from PIL import Image

from egodepth.data.cityscapes.layout import FrameName

HEIGHT, WIDTH = 48, 160
"""The size of the pairs."""


def texture(seed, height=HEIGHT, width=WIDTH + 64):
    """Coarse noise, so that it survives being made smaller or larger."""
    rough = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def write_pair(left, right, seed=0, shift=6):
    """A plane whose disparity is `shift` pixels."""
    scene = texture(seed)
    for path, start in ((left, 0), (right, shift)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene[:, 16 + start : 16 + start + WIDTH]).convert("RGB").save(path)


# --- KITTI's GPS and inertial measurements ---


def write_oxts(folder, velocities, rate=10.0):
    """Measurements of a drive whose camera moves so fast: forward, leftward and upward, in m/s."""
    (folder / "data").mkdir(parents=True)
    for number, (forward, left, up) in enumerate(velocities):
        row = [49.0, 8.4, 112.0, 0, 0, 0, 5, 5, forward, left, up, *[0.0] * 19]
        (folder / "data" / f"{number:010d}.txt").write_text(" ".join(map(str, row)) + "\n")
    times = [f"2011-09-26 13:02:{5 + number / rate:012.9f}\n" for number in range(len(velocities))]
    (folder / "timestamps.txt").write_text("".join(times))
    return folder


# --- KITTI Stereo 2015 and KITTI's depth selection ---


CAM_TO_CAM = """R_rect_00: 1 0 0 0 1 0 0 0 1
S_rect_02: 160 48
P_rect_02: 60 0 80 3 0 60 24 0 0 0 1 0
P_rect_03: 60 0 80 -27 0 60 24 0 0 0 1 0
"""
SELECTED = "2011_09_26_drive_0002_sync_{}_0000000005_image_02"


def write_stereo_2015(root, frames=2):
    """Pairs with their disparity, 6 pixels everywhere, and their calibration."""
    training = root / "training"
    for folder in ("disp_occ_0", "calib_cam_to_cam"):
        (training / folder).mkdir(parents=True)
    for number in range(frames):
        name = f"{number:06d}_10.png"
        write_pair(training / "image_2" / name, training / "image_3" / name, seed=number)
        Image.fromarray(np.full((HEIGHT, WIDTH), 256 * 6, np.uint16)).save(training / "disp_occ_0" / name)
        (training / "calib_cam_to_cam" / f"{number:06d}.txt").write_text(CAM_TO_CAM)


def write_selection(root):
    """One image of 1216x352 with depth along one row, and its camera."""
    depth = np.zeros((352, 1216), np.uint16)
    depth[200] = 25 * 256
    for folder, name, pixels in (
        ("image", SELECTED.format("image"), np.zeros((352, 1216, 3), np.uint8)),
        ("groundtruth_depth", SELECTED.format("groundtruth_depth"), depth),
    ):
        (root / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(root / folder / f"{name}.png")
    (root / "intrinsics").mkdir()
    (root / "intrinsics" / f"{SELECTED.format('image')}.txt").write_text("721.5 0 596.5 0 721.5 149.8 0 0 1")


# --- Cityscapes ---


def city_file(root, kind, split, name, suffix):
    path = root / kind / split / name.split("_")[0] / f"{name}_{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_cityscapes_pair(root, split, name, seed=0):
    """A labelled frame with its right partner and its camera."""
    left, right = (city_file(root, f"{side}Img8bit", split, name, f"{side}Img8bit.png") for side in ("left", "right"))
    write_pair(left, right, seed)
    write_cityscapes_camera(root, split, name)


def write_cityscapes_camera(root, split, name):
    camera = {"intrinsic": {"fx": 100, "fy": 100, "u0": 80, "v0": 24}, "extrinsic": {"baseline": 0.2}}
    city_file(root, "camera", split, name, "camera.json").write_text(json.dumps(camera))


def write_cityscapes_disparity(root, split, name):
    """6 pixels everywhere, as the pairs are shifted."""
    disparity = np.full((HEIGHT, WIDTH), 1 + 6 * 256, np.uint16)
    Image.fromarray(disparity).save(city_file(root, "disparity", split, name, "disparity.png"))


def write_snippet(root, split, recording, missing=()):
    """The 30 frames around a labelled one, with a camera that turns by a pixel from frame to frame."""
    scene = texture(len(recording))
    for frame in range(30):
        if frame not in missing:
            path = city_file(root, "leftImg8bit_sequence", split, f"{recording}_{frame:06d}", "leftImg8bit.png")
            Image.fromarray(scene[:, frame : frame + WIDTH]).convert("RGB").save(path)


def write_triplet(root, name="ulm_000002_000025", third=(12, 32), camera=None):
    """Three grey views side by side, each (height, width) `third`, and their camera."""
    pixels = np.zeros((third[0], 3 * third[1], 3), np.uint8)
    for place, grey in enumerate((40, 120, 200)):
        pixels[:, place * third[1] : (place + 1) * third[1]] = grey
    city = root / name.split("_")[0]
    city.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(city / f"{name}.jpg", quality=95)
    scale = third[1] / 1024, third[0] / 384
    camera = camera or f"{1131.26 * scale[0]:.6f},0.,{548.49 * scale[0]:.6f},0.,{1132.650895 * scale[1]:.6f}," + (
        f"{256.5685 * scale[1]:.6f},0.,0.,1."
    )
    (city / f"{name}_cam.txt").write_text(camera)
    return FrameName.find(name)


# --- DDAD ---


def write_ddad_scene(root, folder, frames=3, camera="CAMERA_01", lidar="LIDAR", stands=()):
    """A car that turns by two pixels from sample to sample but those at which it stands; its lidar sees two points."""
    home, scene = root / folder, texture(len(folder), width=2 * WIDTH + 64)
    turned = 0
    for name in ("calibration", f"rgb/{camera}", f"point_cloud/{lidar}"):
        (home / name).mkdir(parents=True)
    data, samples = [], []
    optical = {"rotation": {"qw": 0.5, "qx": -0.5, "qy": 0.5, "qz": -0.5}, "translation": {"z": 1.5}}
    for number in range(frames):
        cloud, image = f"point_cloud/{lidar}/{number}.npz", f"rgb/{camera}/{number + 10}.png"
        np.savez(home / cloud, data=np.array([[10.0, 0.1, 1.5, 0], [10, -0.1, 1.4, 0]]))
        turned += 2 * (number not in stands)
        Image.fromarray(scene[:, turned : turned + WIDTH + 64]).convert("RGB").save(home / image)
        for key, name, datum in (
            (f"l{number}", lidar, {"point_cloud": {"filename": cloud, "pose": {}}}),
            (f"c{number}", camera, {"image": {"filename": image, "pose": optical}}),
        ):
            data.append({"key": key, "id": {"name": name}, "datum": datum})
        samples.append({"calibration_key": "k", "datum_keys": [f"l{number}", f"c{number}"]})
    intrinsics = [{}, {"fx": 100, "fy": 100, "cx": 112, "cy": 24}]
    calibration = {"names": [lidar, camera], "intrinsics": intrinsics, "extrinsics": [{}, optical]}
    (home / "calibration" / "k.json").write_text(json.dumps(calibration))
    (home / "scene_0.json").write_text(json.dumps({"data": data, "samples": samples}))


def write_ddad(
    root,
    train: Sequence[str] = ("000000",),
    val: Sequence[str] = ("000150", "000151"),
    frames=3,
    listing="ddad.json",
    **sensors,
):
    """Scenes and the file that lists them by split; a scene may be in both."""
    for folder in dict.fromkeys((*train, *val)):
        write_ddad_scene(root, folder, frames, **sensors)
    write_ddad_list(root / listing, train, val)


def write_ddad_list(file, train: Sequence[str], val: Sequence[str]):
    """A split without scenes is left out, as DDAD's own lists have it."""
    listed = {number: names for number, names in (("0", train), ("1", val)) if names}
    splits = {number: {"filenames": [f"{name}/scene_0.json" for name in names]} for number, names in listed.items()}
    file.write_text(json.dumps({"metadata": {}, "scene_splits": splits}))


# --- Make3D, whose MATLAB files are written byte by byte ---


MAKE3D_NAME = "060705-17.10.14-p-049t000"
DOUBLE_CLASS, SINGLE_CLASS = 6, 7


def element(kind, body, order="<"):
    """A data element of a MATLAB 5 file: its tag, and its body padded to eight bytes."""
    if 0 < len(body) <= 4:
        return struct.pack(f"{order}I", len(body) << 16 | kind) + body.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def variable(name, values, order="<", compressed=False, checksum=True):
    code, matlab_class = {"f8": (9, DOUBLE_CLASS), "f4": (7, SINGLE_CLASS)}[values.dtype.str[1:]]
    matrix = element(6, struct.pack(f"{order}II", matlab_class, 0), order)
    matrix += element(5, np.array(values.shape, order + "i4").tobytes(), order)
    matrix += element(1, name.encode(), order)
    matrix += element(code, values.astype(order + values.dtype.str[1:]).tobytes(order="F"), order)
    whole = element(14, matrix, order)
    if not compressed:
        return whole
    packed = zlib.compress(whole)
    packed = packed if checksum else packed[:-4]
    return struct.pack(f"{order}II", 15, len(packed)) + packed


def write_matlab(path, *variables, order="<"):
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    path.write_bytes(b"MATLAB 5.0 MAT-file, made for a test".ljust(124) + mark + b"".join(variables))


def laser_grid():
    """Four numbers a point, of which the last is the distance: it grows from row to row and column to column."""
    row, column = np.mgrid[:55, :305].astype(float)
    distance = 3 + row + column / 10
    return np.stack([row, -column, distance * 0.9, distance], axis=-1)


def write_make3d_frame(root, name=MAKE3D_NAME, size=(40, 30), images="Test134", grids="Gridlaserdata", **options):
    """An image (height, width) `size` and its laser grid."""
    (root / images).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (90, 120, 60)).save(root / images / f"img-{name}.jpg")
    write_matlab(
        root / grids / f"depth_sph_corr-{name}.mat",
        variable("Position3DGrid", laser_grid(), compressed=True, **options),
    )


# --- footage ---


FRAME_SIZE = (48, 96)
"""Height and width."""


def moving_scene(frame, height=FRAME_SIZE[0], width=FRAME_SIZE[1]):
    """A textured wall that slides past by three pixels a frame."""
    x, y = np.meshgrid(np.arange(width) + 3 * frame, np.arange(height))
    waves = [np.sin(x / 5.0) * np.cos(y / 7.0), np.sin(x / 9.0 + y / 4.0), np.cos(x / 6.0)]
    return (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def write_frames(folder, frames=range(12), size=FRAME_SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(moving_scene(frame, *size)).save(folder / f"{number}.png")
    return folder


def turning_scene(yaw_degrees, size, fov=70.0, pitch_degrees=0.0):
    """What a camera sees of far away, (H, W, 3) uint8: colours of directions, with no parallax."""
    height, width = size
    focal = width / 2 / np.tan(np.radians(fov) / 2)
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    yaw, pitch = np.radians(yaw_degrees), np.radians(pitch_degrees)
    x, y, z = x, y * np.cos(pitch) + focal * np.sin(pitch), focal * np.cos(pitch) - y * np.sin(pitch)
    east, up, north = x * np.cos(yaw) + z * np.sin(yaw), y, z * np.cos(yaw) - x * np.sin(yaw)
    direction = np.stack([east, up, north], axis=-1)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    waves = np.random.default_rng(0).normal(scale=22, size=(3, 6, 3))
    values = np.sin(np.einsum("hwd,cnd->hwcn", direction, waves) + np.arange(6)).sum(-1)
    return (127 + 40 * values).clip(0, 255).astype(np.uint8)


def write_turning_frames(folder, count=14, size=FRAME_SIZE, fov=70.0):
    """Frames of a camera that turns to and fro by up to six degrees a frame, and goes nowhere."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = turning_scene(14 * np.sin(number / 2.2), size, fov, 2 * np.sin(number / 1.3))
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


QUARTER_TURNS = {0: (1, 0, 0, 1), 1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}
"""The first four numbers a, b, c, d of display matrices that turn the picture counterclockwise so many times."""


def set_display_matrix(path, turn):
    """Write a quarter turn, or the numbers a, b, c, d themselves, into the header of an MP4's first track."""
    a, b, c, d = QUARTER_TURNS[turn] if isinstance(turn, int) else turn
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    one = 1 << 16
    content[matrix : matrix + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def write_video(path, frames=range(12), size=FRAME_SIZE):
    return write_pictures_as_video(path, (moving_scene(frame, *size) for frame in frames), size)


def write_pictures_as_video(path, pictures, size):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 4_000_000
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
