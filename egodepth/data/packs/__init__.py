"""Packed copies of training sets."""
