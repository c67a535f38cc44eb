"""Distances that somebody measured: what a line may look like, and what is said of one that does not."""

import pytest

from egodepth.data.known_points import read_known_points
from egodepth.errors import UserError
from tests.data.test_motion_logs import written


def test_measured_points_are_read_beside_the_data_or_the_file(tmp_path):
    data, notes = tmp_path / "data", tmp_path / "notes"
    for folder, picture in ((data, "a b.png"), (notes, "c.png")):
        folder.mkdir()
        (folder / picture).touch()
    text = "# by tape\na b.png 12 30.5 4.25\nc.png, 1, 2, 3  # the post\n"
    one, other = read_known_points(written(notes, "tape.txt", text), data)
    assert (one.picture, one.column, one.row, one.metres, one.line) == (data / "a b.png", 12, 30.5, 4.25, 2)
    assert (other.picture, other.column, other.row, other.metres) == (notes / "c.png", 1, 2, 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a.png 1 2", "line 1: expected `picture column row metres`"),
        ("a.png 1 2 far", "line 1: expected `picture column row metres`"),
        ("a.png 1 2 -3", "must be positive"),
        ("a.png 1 2 nan", "must be positive"),
        ("b.png 1 2 3", "there is no picture b.png"),
    ],
)
def test_a_measured_point_that_is_broken_is_named_with_its_line(tmp_path, line, said):
    (tmp_path / "a.png").touch()
    file = written(tmp_path, "tape.txt", line)
    with pytest.raises(UserError, match=f"tape.txt, .*{said}"):
        read_known_points(file, tmp_path)
