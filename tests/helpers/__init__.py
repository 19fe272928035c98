"""Equipment of the tests: small images and models, commands, processes, a model server."""
