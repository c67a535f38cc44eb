"""The version, apart from the package's face, which knows all floors."""

__version__ = "0.1.0"
