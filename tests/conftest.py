"""What holds for every test: no deadline for properties, no network, a terminal of a fixed width."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("COLUMNS", "160")

from hypothesis import settings

settings.register_profile("egodepth", deadline=None, max_examples=50)
settings.load_profile("egodepth")
