"""What all files of medical images have in common."""

NOT_MEDICAL = "not a medical device: never use a result for diagnosis"
"""Note on results of medical images."""
