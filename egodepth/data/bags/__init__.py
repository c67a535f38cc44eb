"""Bags of ROS 1 and ROS 2: their pictures as footage, and their cameras. Needs rosbags, the extra `ros`, and no ROS."""
