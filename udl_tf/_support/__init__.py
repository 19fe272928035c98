"""Helpers that know nothing about images: files, processes, hardware, the command line.

For the other rooms only; nothing here is public.
"""
