"""Models for other engines and devices: export, quantisation, and folders that can be used without egodepth."""
