"""The engine: fit, callbacks, resume, scale, runs from DATA to a released model."""
