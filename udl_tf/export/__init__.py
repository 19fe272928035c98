"""Exports of a trained model; each is checked beside the Keras networks before it appears."""
