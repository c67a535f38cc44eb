"""Metrics, protocols, priors to beat, odometry, and reports."""
