"""How long commands take that only talk: help, lists, refusals; and which imports they wait for.

    python benchmarks/startup.py [--json FILE]

Each command runs in a fresh interpreter, five times; the best time counts, since everything else on the machine can
only add to it. The imports are Python's own account (`-X importtime`): time in a module with all that it imports.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

RUNS = 5
HEAVIEST = 3

COMMANDS = (
    "--version",
    "--help",
    "list",
    "train --help",
    "train monodepth2 --help",
    "train monodepth2 --help-all",
    "data pack monodepth2 --help",
    "simulate --help",
    "evaluate --help",
    "predict --help",
    "tran",
    "train monodepth3 DATA",
    "train monodepth2",
    "train monodepth2 DATA --out RUN --heigth 64",
    "train monodepth2 DATA --out RUN --steps abc",
    "train monodepth2 DATA --out RUN --bidirectional.depth-weight 7",
    "evaluate MODEL DATA --protocol eigem",
)


def best_seconds(words: list[str]) -> float:
    """The shortest wall time of a command, which ends with exit code 0 or 2."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        code = subprocess.run([sys.executable, "-m", "egodepth", *words], capture_output=True, check=False).returncode
        times.append(time.perf_counter() - start)
        if code not in (0, 2):
            sys.exit(f"egodepth {' '.join(words)}: ended with exit code {code}.")
    return min(times)


def heaviest_imports(words: list[str]) -> dict[str, float]:
    """The packages that a command's imports take longest for, in seconds; those of egodepth itself aside."""
    command = [sys.executable, "-X", "importtime", "-m", "egodepth", *words]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    seconds: dict[str, float] = {}
    for micros, module in re.findall(r"(?m)^import time:\s*\d+ \|\s*(\d+) \|\s*(\S+)$", said):
        package = module.partition(".")[0]
        if package not in ("egodepth", "site"):
            seconds[package] = max(seconds.get(package, 0.0), int(micros) / 1e6)
    return dict(sorted(seconds.items(), key=lambda item: -item[1])[:HEAVIEST])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    file = parser.parse_args().json
    rows = []
    print(f"{'seconds':>7}  {'egodepth …':62}  heaviest imports")
    for command in COMMANDS:
        words = command.split()
        row = {"command": command, "seconds": best_seconds(words), "imports": heaviest_imports(words)}
        imports = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["imports"].items())
        print(f"{row['seconds']:7.2f}  {command:62}  {imports}", flush=True)
        rows.append(row)
    if file is not None:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "runs": RUNS}
        file.write_text(json.dumps(machine | {"commands": rows}, indent=2) + "\n")
        print(f"Wrote {file}")


if __name__ == "__main__":
    main()
