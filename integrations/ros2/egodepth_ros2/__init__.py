"""egodepth for robots with ROS 2: a node, and depth bags from bags of pictures."""
