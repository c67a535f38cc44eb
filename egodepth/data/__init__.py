"""Datasets, augmentation and the street simulator."""
