"""Files of cameras' intrinsics, as this program and others write them."""
