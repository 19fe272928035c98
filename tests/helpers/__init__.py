"""Test equipment: small images and models, commands, processes, a model server."""
