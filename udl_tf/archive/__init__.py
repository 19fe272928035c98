"""Upscales archives: folders and object stores of very many pictures, by Ray's actors."""
