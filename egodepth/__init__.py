"""egodepth: fast, accurate depth from unlabelled footage."""

__version__ = "0.1.0"
