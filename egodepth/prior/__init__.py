"""RPrDepth's prior: building, selection, and the pipeline from nothing to a released model."""
