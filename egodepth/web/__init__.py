"""A page in the browser to try a model on: pictures and short videos in; depth, metres, points and files out."""
