"""Cameras, poses, warping, disparity and depth, discrete volumes: pure functions on tensors."""
