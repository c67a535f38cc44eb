"""Finding a camera's intrinsics: from pictures of a chessboard, or from footage alone."""
