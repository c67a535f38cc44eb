"""KITTI: raw drives, Stereo 2015, depth selection, odometry."""
