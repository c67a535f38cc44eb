"""Make3D: test images and laser grids."""
