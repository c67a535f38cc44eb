"""Damaged and forged inputs, and commands killed at random moments: the long form of tests/trust.

    python benchmarks/fuzzing.py [--mutations N] [--kills K] [--seed S] [--only KIND …] [--json FILE]

Spreads N mutations evenly over all kinds of input (tests/trust/inputs.py), each kind in a process of its own whose
memory is watched, and says what came of them: read rightly, refused in one line, read as another valid input (a file
without a digest whose new content is as good as the old), or a fault: damage of a guarded file that was served, a
traceback, a message that is no line, or no answer within 20 s.

Then starts training, packing, prediction and simulation K times in turn, sends each a signal at a random moment, runs
the same command again until it ends, and compares what it wrote with what a command that was left alone wrote, byte for
byte. What the killed process left half written must be gone then.
"""

import hashlib
import json
import multiprocessing
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from egodepth.files import TEMPORARY, write_text
from tests.trust.harness import FAULTS, Tally, tried
from tests.trust.inputs import KINDS

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SECONDS_TO_END = 120
MOST_STARTS = 5


@dataclass(frozen=True)
class Benchmark:
    """Change inputs and kill commands.

    Attributes:
        mutations: in all.
        kills: in all, over the commands in turn.
        seed: decides every change and every moment.
        only: kinds of input; all where none is named.
        json: also write the figures there.
    """

    mutations: int = 4400
    kills: int = 8
    seed: int = 0
    only: tuple[str, ...] = ()
    json: Path | None = None


@dataclass
class Killed:
    """What came of the kills of one command.

    Attributes:
        sent: by the signal's name; what had ended before is not counted.
        equal: ended equal to the command that was left alone.
        leftovers: files still there after the next start.
        wrong: what was not as promised.
    """

    sent: Counter[str] = field(default_factory=Counter)
    equal: int = 0
    leftovers: int = 0
    wrong: list[str] = field(default_factory=list)


def main(benchmark: Benchmark) -> None:
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="egodepth-fuzzing-") as temporary:
        folder = Path(temporary)
        names = benchmark.only or tuple(KINDS)
        each = -(-benchmark.mutations // len(names))
        tallies = {name: _in_process(name, each, benchmark.seed, folder) for name in names if each}
        kills = killed(benchmark.kills, benchmark.seed, folder / "kills") if benchmark.kills else {}
    console.print(_table(tallies))
    for name, (tally, _) in tallies.items():
        for number, said in tally.faults[:3]:
            console.print(f"{name}, mutation {number}: {said}", markup=False)
    for name, found in kills.items():
        line = f"{name}: {dict(found.sent)}, equal {found.equal}, leftovers {found.leftovers} {found.wrong}"
        console.print(line, markup=False)
    if benchmark.json is not None:
        figures = {
            "seed": benchmark.seed,
            "mutations": {
                name: dict(tally.outcomes) | {"longest_s": round(tally.seconds, 2), "memory_mb": memory}
                for name, (tally, memory) in tallies.items()
            },
            "kills": {
                name: {"sent": dict(found.sent), "equal": found.equal, "leftovers": found.leftovers}
                for name, found in kills.items()
            },
        }
        write_text(benchmark.json, json.dumps(figures, indent=2) + "\n")


# --- mutations --------------------------------------------------------------------------------------------------------


def _in_process(name: str, count: int, seed: int, folder: Path) -> tuple[Tally, int]:
    """The tally of a kind, and by how many megabytes the memory of its process grew."""
    # Forked, so that what was imported is there; nothing here has started a thread.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_watched, args=(sender, name, count, seed, folder / name.replace("/", " ")))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        tally = Tally(Counter({"traceback": 1}), [(-1, "its process ended by itself")])
        return tally, 0
    finally:
        process.join()


def _watched(sender: object, name: str, count: int, seed: int, folder: Path) -> None:
    torch.set_num_threads(1)
    before = _peak_mb()
    tally = tried(name, count, seed, folder)
    sender.send((tally, _peak_mb() - before))


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _table(tallies: dict[str, tuple[Tally, int]]) -> Table:
    table = Table(title="Changed inputs", box=None)
    columns = ("kind", "right", "one line", "another valid input", "faults", "longest, s", "memory, MB")
    for column in columns:
        table.add_column(column, justify="left" if column == "kind" else "right")
    total: Counter[str] = Counter()
    for name, (tally, memory) in tallies.items():
        faults = sum(tally.outcomes[outcome] for outcome in FAULTS)
        counts = [tally.outcomes[outcome] for outcome in columns[1:4]]
        table.add_row(name, *map(str, counts), str(faults), f"{tally.seconds:.1f}", str(memory))
        total.update(dict(zip(columns[1:5], (*counts, faults), strict=True)))
    table.add_row("all", *(str(total[column]) for column in columns[1:5]), "", "")
    return table


# --- kills ------------------------------------------------------------------------------------------------------------


SIZE = ("--height", 64, "--width", 96)
TRAIN = (
    *SIZE,
    *("--batch-size", 2, "--pretrained", "none", "--workers", 0, "--steps", 40, "--checkpoint-every", 3),
    *("--network.encoder", "mobilenetv3_small_050", "--pose.encoder", "mobilenetv3_small_050", "--log-every", 5),
)


def _commands(street: Path, run: Path) -> dict[str, tuple[tuple, tuple, tuple[str, ...]]]:
    """For each command its words but for OUT, those that it is run again with, and the files that must be equal."""
    return {
        "train": (("train", "monodepth2", street, *TRAIN, "--out"), ("--resume",), ("model/*",)),
        "data pack": (("data", "pack", "monodepth2", street, *SIZE, "--out"), (), ("pixels-*", "samples-*")),
        "predict": (("predict", run, street / "pictures", "--format", "npy", "--out"), (), ("**/*",)),
        "simulate": (("simulate", "--frames", 60, *SIZE, "--seed", 3), (), ("**/*",)),
    }


def killed(count: int, seed: int, folder: Path) -> dict[str, Killed]:
    """Kill commands at random moments, run them again, and compare."""
    folder.mkdir()
    street, run = folder / "street", folder / "trained"
    _done(("simulate", street, "--frames", 40, *SIZE), folder)
    pictures = sorted(street.rglob("image_02/data/*"))
    (street / "pictures").mkdir()
    for number in range(400):
        picture = pictures[number % len(pictures)]
        shutil.copy(picture, street / "pictures" / f"{number:04d}{picture.suffix}")
    draw = random.Random(f"kills {seed}")
    found: dict[str, Killed] = {}
    lasted: dict[str, float] = {}
    wholes: dict[str, Path] = {}
    for number in range(count):
        name = tuple(_commands(street, run))[number % 4]
        if name not in wholes:
            wholes[name] = run if name == "train" else folder / f"whole {name}"
            lasted[name] = _done(_words(name, street, run, wholes[name]), folder, wholes[name])
        tally = found.setdefault(name, Killed())
        for _ in range(MOST_STARTS):
            if _kill_once(name, street, run, wholes[name], folder, draw, lasted[name], tally):
                break
    return found


def _words(name: str, street: Path, run: Path, out: Path, again: bool = False) -> tuple:
    words, more, _ = _commands(street, run)[name]
    return (words[0], out, *words[1:]) if name == "simulate" else (*words, out, *(more if again else ()))


def _kill_once(
    name: str, street: Path, run: Path, whole: Path, folder: Path, draw: random.Random, writes: float, tally: Killed
) -> bool:
    """Whether the signal came before the command's end.

    Args:
        writes: seconds from the first file that the command writes to its end.
    """
    out = folder / "out" / "result"
    shutil.rmtree(out.parent, ignore_errors=True)
    out.parent.mkdir()
    number = draw.choice((*SIGNALS, signal.SIGUSR1) if name == "train" else SIGNALS)
    command = _started(_words(name, street, run, out), folder)
    while not _is_begun(out) and command.poll() is None:
        time.sleep(0.01)
    until = time.monotonic() + draw.uniform(0, writes)
    while time.monotonic() < until and command.poll() is None:
        time.sleep(0.01)
    command.send_signal(number)  # does nothing where it has ended
    code = command.wait(SECONDS_TO_END)
    if code == 0:
        return False
    tally.sent[number.name] += 1
    expected = (-number,) if number == signal.SIGKILL else (128 + number, -number)
    if code not in expected:
        tally.wrong.append(f"{number.name}: exit code {code}: {_said(folder)}")
    for _ in range(MOST_STARTS):
        code = _started(_words(name, street, run, out, again=True), folder).wait()
        if code == 0:
            break
    tally.leftovers += sum(1 for path in out.parent.rglob(".*") if TEMPORARY.fullmatch(path.name))
    patterns = _commands(street, run)[name][2]
    if dict(_content(out, patterns)) == dict(_content(whole, patterns)):
        tally.equal += 1
    else:
        tally.wrong.append(f"{number.name}: ended with other files than the one that was left alone, code {code}")
    return True


def _content(folder: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        for file in sorted(folder.glob(pattern)):
            if file.is_file():
                yield file.relative_to(folder).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()


def _started(words: tuple, folder: Path) -> subprocess.Popen:
    with (folder / "said.txt").open("w") as said:
        arguments = [sys.executable, "-m", "egodepth", *map(str, words)]
        return subprocess.Popen(arguments, stdout=said, stderr=subprocess.STDOUT)


def _said(folder: Path) -> str:
    return (folder / "said.txt").read_text()[-300:]


def _done(words: tuple, folder: Path, out: Path | None = None) -> float:
    """Seconds from the first file of a command in OUT to its end."""
    command = _started(words, folder)
    while out is not None and not _is_begun(out) and command.poll() is None:
        time.sleep(0.01)
    began = time.monotonic()
    if command.wait():
        raise RuntimeError(f"{words[0]} ended with {command.returncode}: {_said(folder)}")
    return time.monotonic() - began


def _is_begun(out: Path) -> bool:
    """Whether OUT is there, or something half written beside it."""
    return out.exists() or any(path.name.startswith(f".{out.name}.") for path in out.parent.iterdir())


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
