"""Cityscapes: sequences, triplets, ground truth."""
