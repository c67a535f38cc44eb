"""DDAD: scenes and laser points."""
