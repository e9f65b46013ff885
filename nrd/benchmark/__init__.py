"""Measurements of speed, each beside the library that people use otherwise."""
