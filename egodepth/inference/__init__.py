"""Using a trained model: depth of pictures and videos, as arrays, files and depth videos."""
