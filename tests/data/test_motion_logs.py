"""Logs of motion: each format is read, gaps stay gaps, and what is broken is named with its line."""

from datetime import UTC, datetime

import numpy as np
import pytest

from egodepth.data.motion_logs.csv_logs import read_csv
from egodepth.data.motion_logs.oxts import read_oxts
from egodepth.data.motion_logs.poses import read_pose_log
from egodepth.data.motion_logs.reading import read_track
from egodepth.errors import UserError
from tests.data.trees import write_oxts

START = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC).timestamp()


def written(folder, name, text):
    file = folder / name
    file.write_text(text)
    return file


def moved(track, *stretches):
    starts, ends = np.array(stretches, dtype=float).T
    return track.moved_m(starts, ends)


# --- speeds ---


def test_a_steady_speed_gives_its_way(tmp_path):
    track = read_csv(written(tmp_path, "a.csv", "time,speed\n0,10\n1,10\n2,10\n"))
    np.testing.assert_allclose(moved(track, (0, 2), (0.5, 0.6)), [20, 1])


def test_a_speed_that_grows_is_integrated(tmp_path):
    track = read_csv(written(tmp_path, "a.csv", "time,speed\n0,0\n1,2\n2,4\n"))
    # v = 2 t, of which the way is t^2.
    np.testing.assert_allclose(moved(track, (0, 1), (1, 2), (0, 2)), [1, 3, 4])


def test_kilometres_an_hour_and_other_columns_are_read(tmp_path):
    text = '"Time","rpm","speed_kmh"\n# a remark\n5,900,36\n\n6,1000,36\n'
    assert moved(read_track(written(tmp_path, "a.csv", text)), (5, 6)) == pytest.approx(10)


def test_nothing_is_interpolated_over_a_gap_or_outside_the_log(tmp_path):
    track = read_csv(written(tmp_path, "a.csv", "time,speed\n0,10\n1,10\n3.5,10\n4.5,10\n"))
    found = moved(track, (0, 1), (0.5, 1.5), (1.5, 2), (3.5, 4.5), (0, 4), (-0.1, 0.5), (4, 5))
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False, True, True, True])


def test_two_seconds_are_no_gap(tmp_path):
    track = read_csv(written(tmp_path, "a.csv", "time,speed\n0,10\n2,10\n"))
    assert moved(track, (0.5, 1.5)) == pytest.approx(10)


def test_lines_without_a_value_are_gaps(tmp_path):
    track = read_csv(written(tmp_path, "a.csv", "time,speed\n0,10\n1,\n2,\n3,10\n4,10\n"))
    np.testing.assert_allclose(moved(track, (0.5, 1), (3, 4)), [np.nan, 10])


def test_entries_out_of_order_and_twice_are_put_in_order(tmp_path):
    track = read_csv(written(tmp_path, "a.csv", "time,speed\n2,4\n0,0\n1,2\n1,2\n"))
    assert moved(track, (0, 2)) == pytest.approx(4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("t,v\n0,1\n", "its first line is `t,v`"),
        ("time,speed\n0,1\n1,fast\n", "line 3: holds no number"),
        ("time,speed\n0,1\n1,nan\n", "line 3: holds no number"),
        ("time,speed\n0,1\n0,2\n", "holds one time alone"),
        ("time,speed\n0,\n1,\n", "no line has all of its values"),
        ("time,speed\n0,1\n1,-2\n", "below 0"),
    ],
)
def test_a_table_that_is_broken_is_named_with_its_line(tmp_path, text, said):
    file = written(tmp_path, "a.csv", text)
    with pytest.raises(UserError, match=f"a.csv.*{said}"):
        read_csv(file)


def test_a_log_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_track(tmp_path / "a.csv")
    with pytest.raises(UserError, match="GPX file, or a CSV file"):
        read_track(written(tmp_path, "a.fit", "x"))


# --- places ---


def test_places_give_metres_on_the_earth(tmp_path):
    # A degree of latitude is 110.574 km at the equator, a degree of longitude 111.320 km there and 55.800 km at 60°.
    text = "time,latitude,longitude\n0,0,0\n1,0.001,0\n2,0.001,0.001\n"
    np.testing.assert_allclose(
        moved(read_csv(written(tmp_path, "a.csv", text)), (0, 1), (1, 2)), [110.574, 111.320], rtol=2e-5
    )
    text = "time,lat,lon\n0,60,179.9995\n1,60,-179.9995\n"
    assert moved(read_csv(written(tmp_path, "b.csv", text)), (0, 1)) == pytest.approx(55.800, rel=2e-5)


def gpx(points, opening='<gpx xmlns="http://www.topografix.com/GPX/1/1">'):
    body = "".join(
        f'<trkpt lat="{lat}" lon="{lon}"><ele>3</ele>{f"<time>{time}</time>" if time else ""}</trkpt>'
        for lat, lon, time in points
    )
    return f'<?xml version="1.0"?>{opening}<trk><name>a</name><trkseg>{body}</trkseg></trk></gpx>'


def test_a_gpx_track_is_read_with_its_gaps(tmp_path):
    points = [
        (0, 0, "2024-05-01T12:00:00Z"),
        (0.001, 0, "2024-05-01T12:00:01Z"),
        (0.0011, 0, None),
        (0.002, 0, "2024-05-01T14:00:02.500+02:00"),
        (0.003, 0, "2024-05-01T12:00:09"),
    ]
    track = read_track(written(tmp_path, "a.gpx", gpx(points)))
    found = moved(track, (START, START + 1), (START + 1, START + 2.5), (START + 2.5, START + 9))
    np.testing.assert_allclose(found, [110.574, 110.574, np.nan], rtol=2e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<gpx>", "is not XML"),
        (gpx([]), "0 points with a place and a time"),
        (gpx([(0, 0, "noon"), (1, 1, "one")]), "no time that can be read"),
        (gpx([("north", 0, "2024-05-01T12:00:00Z")] * 2), "no place"),
        ('<!DOCTYPE gpx [<!ENTITY a "aaaa">]><gpx><trkpt lat="0" lon="0"><time>&a;</time></trkpt></gpx>', "entity a"),
    ],
)
def test_a_gpx_file_that_is_broken_is_named(tmp_path, text, said):
    file = written(tmp_path, "a.gpx", text)
    with pytest.raises(UserError, match=f"a.gpx: .*{said}"):
        read_track(file)


# --- KITTI's oxts ---


def test_oxts_gives_the_way_between_frames(tmp_path):
    track, seconds = read_oxts(write_oxts(tmp_path / "oxts", [(8, 6, 0)] * 6))
    assert seconds[5] - seconds[0] == pytest.approx(0.5)
    assert moved(track, (seconds[1], seconds[4])) == pytest.approx(3)


def test_oxts_without_its_times_or_its_files_is_refused(tmp_path):
    folder = write_oxts(tmp_path / "oxts", [(8, 6, 0)] * 6)
    (folder / "timestamps.txt").write_text("2011-09-26 13:02:05.0\n")
    with pytest.raises(UserError, match="1 times for 6 entries"):
        read_oxts(folder)
    (folder / "timestamps.txt").write_text("today\n")
    with pytest.raises(UserError, match=r"timestamps.txt, line 1: is no time"):
        read_oxts(folder)
    with pytest.raises(UserError, match=r"has no data/\*\.txt"):
        read_oxts(tmp_path)


# --- poses ---

SQUARE = [(0, 0, 0), (3, 0, 0), (3, 4, 0), (3, 4, 12)]
TURNED = "0.5 0.5 0.5 0.5"


def test_poses_of_three_formats_say_the_same_places(tmp_path):
    tum = "# time tx ty tz qx qy qz qw\n" + "".join(
        f"{1.5e9 + n} {x} {y} {z} {TURNED}\n" for n, (x, y, z) in enumerate(SQUARE)
    )
    euroc = "#timestamp [ns],p_x,p_y,p_z,q_w,q_x,q_y,q_z,v_x\n" + "".join(
        f"{1_500_000_000 + n}000000000,{x},{y},{z},0.5,0.5,0.5,0.5,9\n" for n, (x, y, z) in enumerate(SQUARE)
    )
    kitti = "".join(f"1 0 0 {x} 0 1 0 {y} 0 0 1 {z}\n" for x, y, z in SQUARE)
    for name, text, first in (("a.txt", tum, 1.5e9), ("a.csv", euroc, 1.5e9), ("b.txt", kitti, 0)):
        track = read_pose_log(written(tmp_path, name, text))
        np.testing.assert_allclose(track.positions_m, SQUARE)
        assert track.is_timed == (name != "b.txt")
        np.testing.assert_allclose(track.seconds, first + np.arange(4))
        found = moved(track, *((first + n, first + n + 1) for n in range(3)), (first, first + 2), (first, first + 0.5))
        np.testing.assert_allclose(found, [3, 4, 12, 5, 1.5])


def test_a_header_that_is_no_comment_is_passed_over(tmp_path):
    text = f"timestamp tx ty tz qx qy qz qw\n1 0 0 0 {TURNED}\n2 1 0 0 {TURNED}\n"
    assert moved(read_pose_log(written(tmp_path, "a.txt", text)), (1, 2)) == pytest.approx(1)


def test_nothing_is_interpolated_over_a_gap_of_poses(tmp_path):
    text = "".join(f"{time} {time} 0 0 {TURNED}\n" for time in (0, 1, 4, 5))
    found = moved(read_pose_log(written(tmp_path, "a.txt", text)), (0, 1), (1, 4), (4, 5))
    np.testing.assert_allclose(found, [1, np.nan, 1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 3\n", "poses of no known form"),
        ("time\n", "poses of no known form"),
        (f"1 0 0 0 {TURNED}\n2 0 0 0 0.5 0.5\n", "line 2: expected a time, a position and a quaternion"),
        ("1 0 0 0 9 9 9 9\n2 0 0 0 9 9 9 9\n", "no unit quaternions"),
        ("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0\n", "line 2: expected 12 numbers"),
    ],
)
def test_poses_that_are_broken_are_named(tmp_path, text, said):
    file = written(tmp_path, "a.txt", text)
    with pytest.raises(UserError, match=f"a.txt.*{said}"):
        read_pose_log(file)
