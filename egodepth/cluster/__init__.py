"""Work on several machines by engines that others keep: jobs of a batch scheduler, and prediction on a Ray cluster."""
