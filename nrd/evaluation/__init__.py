"""What trained networks say: predictions, calibration, vicinal predictions."""
