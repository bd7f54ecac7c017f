"""Reads a Keras model into a flat graph of calls."""
