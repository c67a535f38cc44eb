"""How a system is trained: one LightningModule per training scheme."""
