"""The one training loop, its checkpoints, its lock and its live mirror in MLflow."""
