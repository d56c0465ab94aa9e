"""What a training run minimises: one module an objective."""
