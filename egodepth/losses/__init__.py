"""Loss functions: pure functions of tensors that return tensors."""
