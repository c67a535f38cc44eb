"""What a user names becomes pictures and videos in natural order, under names that do not clash."""

from pathlib import Path

import pytest

from egodepth.errors import UserError
from egodepth.inference.engines import MANY_PICTURES
from egodepth.inference.inputs import ImageInput, VideoInput, expand_inputs
from egodepth.inference.network_predictor import WORTH_A_GRAPH
from egodepth.inference.pictures import MANY, count_pictures


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(inputs: list) -> list[str]:
    return [each.name.as_posix() for each in inputs]


def test_a_folder_gives_its_images_and_videos_in_natural_order(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("10.png", "9.jpg", "2.PNG", "notes.txt", ".hidden.png", "clip.mp4")))
    inputs = expand_inputs([tmp_path])
    assert names(inputs) == ["2", "9", "10", "clip"]
    assert [type(each) for each in inputs] == [ImageInput, ImageInput, ImageInput, VideoInput]


def test_a_glob_keeps_the_folders_below_its_fixed_part(tmp_path: Path) -> None:
    touch(tmp_path / "left" / "1.png", tmp_path / "right" / "1.png", tmp_path / "right" / "notes.txt")
    assert names(expand_inputs([f"{tmp_path}/*/*"])) == ["left/1", "right/1"]
    assert names(expand_inputs([f"{tmp_path}/**/*.png"])) == ["left/1", "right/1"]
    assert names(expand_inputs([f"{tmp_path}/left/?.png"])) == ["1"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path / "a[1].png", tmp_path / "a1.png")
    assert names(expand_inputs([tmp_path / "a[1].png"])) == ["a[1]"]


def test_a_file_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "b.png")
    assert names(expand_inputs([tmp_path / "b.png", tmp_path, f"{tmp_path}/../{tmp_path.name}/a.png"])) == ["b", "a"]


def test_links_into_a_store_keep_their_names_their_order_and_their_repetitions(tmp_path: Path) -> None:
    touch(tmp_path / "blobs" / "3f", tmp_path / "blobs" / "1a")
    for folder, blobs in (("A", ("3f", "1a", "1a", "3f")), ("B", ("3f", "3f"))):
        (tmp_path / folder).mkdir()
        for number, blob in enumerate(blobs):
            (tmp_path / folder / f"{number:04d}.png").symlink_to(f"../blobs/{blob}")
    assert names(expand_inputs([tmp_path / "A"])) == ["0000", "0001", "0002", "0003"]
    both = names(expand_inputs([tmp_path / "A", tmp_path / "B"]))
    assert both == ["A/0000", "A/0001", "0002", "0003", "B/0000", "B/0001"]


def test_images_that_differ_in_suffix_alone_keep_it(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "b.png")
    assert sorted(names(expand_inputs([tmp_path]))) == ["a.jpg", "a.png", "b"]


def test_equal_names_in_several_folders_keep_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "left" / "1.png", tmp_path / "two" / "left" / "1.png", tmp_path / "2.png"]
    touch(*paths)
    assert names(expand_inputs(paths)) == ["one/left/1", "two/left/1", "2"]


def test_names_stay_distinct_where_a_suffix_would_clash_again(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "a.png.jpg"]
    touch(*paths)
    assert len(set(names(expand_inputs(paths)))) == 3
    both = [tmp_path / folder / name for folder in ("one", "two") for name in ("a.png", "a.jpg", "b.png")]
    touch(*both)
    assert names(expand_inputs(both)) == ["one/a.png", "one/a.jpg", "one/b", "two/a.png", "two/a.jpg", "two/b"]


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.png: no such file"):
        expand_inputs([tmp_path / "nowhere.png"])


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no image or video"):
        expand_inputs([tmp_path / "empty"])


def test_a_glob_without_a_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\*\.png: this pattern matches no image"):
        expand_inputs([f"{tmp_path}/*.png"])


def test_an_unknown_suffix_is_named_with_the_known_ones(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"notes\.txt: '\.txt' .* \.png"):
        expand_inputs([tmp_path / "notes.txt"])


def test_no_input_at_all_is_an_error() -> None:
    with pytest.raises(UserError, match="no input"):
        expand_inputs([])


def test_many_inputs_are_not_all_opened_to_count_them(tmp_path):
    """Videos are opened for it, and once more to be read."""
    assert max(MANY_PICTURES, WORTH_A_GRAPH) <= MANY
    unreadable = VideoInput(tmp_path / "none.mp4", Path("none"))
    pictures = [ImageInput(tmp_path / f"{number}.png", Path(str(number))) for number in range(MANY)]
    assert count_pictures([*pictures[:-1], unreadable]) is None
    assert count_pictures([*pictures, unreadable]) == MANY
