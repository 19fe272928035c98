"""A stand-in for TensorFlow Serving that runs on this machine, without Docker."""
