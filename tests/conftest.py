"""What holds for every test: no deadline for properties, no network, a terminal of a fixed width."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The tensors of tests are small: further threads cost time, all the more where several tests run at once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("COLUMNS", "160")

settings.register_profile("egodepth", deadline=None, max_examples=50)
settings.load_profile("egodepth")


def pytest_collection_finish() -> None:
    """Keep what the imports made out of garbage collections: one that went through it took half a second and more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)  # the export of a graph, which makes millions of objects, took a tenth longer with 700


def pytest_unconfigure() -> None:
    gc.unfreeze()  # bindings that are not collected at the end are reported as leaks


@pytest.fixture(scope="session")
def drive(tmp_path_factory) -> Path:
    """A small simulated drive, stereo, with exact depth: what a user's KITTI tree looks like."""
    from egodepth.data.simulator.configuration import SimulatorConfig
    from egodepth.data.simulator.writer import simulate

    out = tmp_path_factory.mktemp("simulated") / "drive"
    return simulate(out, SimulatorConfig(frames=16, height=64, width=192), progress=False)
