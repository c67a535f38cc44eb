"""Metres for a trained model, from what is known of its camera: height, speed, poses, or distances in a picture."""
