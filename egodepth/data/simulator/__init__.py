"""A procedural street with exact depth, poses and intrinsics, written as KITTI raw data."""
