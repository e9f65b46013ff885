"""Datasets and given labels, from published files to tensors."""
