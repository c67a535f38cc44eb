"""Plain footage: video files and folders of frames."""
