"""Progress where nobody looks at a terminal."""

import re
import time

from egodepth import progress
from egodepth.progress import progress_bar, tracked


def test_a_log_gets_lines_with_what_is_done_and_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    with progress_bar() as bar:
        task = bar.add_task("Predicting", total=4)
        for _ in range(4):
            time.sleep(0.03)
            bar.advance(task)
    list(tracked((time.sleep(0.15) for _ in range(4)), "Decoding [red]a.mp4", 4))
    lines = capsys.readouterr().err.splitlines()
    assert any(re.fullmatch(r"Predicting [23]/4, 0:00:0\d left", line) for line in lines)
    assert any(line.startswith("Decoding [red]a.mp4 ") for line in lines)
    assert "" not in lines[-1:]


def test_a_log_of_something_short_gets_no_line(capsys):
    list(tracked(range(3), "Decoding"))
    with progress_bar(shown=False) as bar:
        list(bar.track(range(3), description="Predicting"))
    assert capsys.readouterr().err.strip() == ""
