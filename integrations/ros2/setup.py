"""The package as colcon builds it. egodepth itself is installed with pip."""

from setuptools import setup

NAME = "egodepth_ros2"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools", "egodepth"],
    license="Apache-2.0",
    entry_points={"console_scripts": ["depth = egodepth_ros2.node:main", "bag = egodepth_ros2.bag:main"]},
)
