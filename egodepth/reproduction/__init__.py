"""The papers' rows, and what we measured of them."""
