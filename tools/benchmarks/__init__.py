"""Measurements that anyone can run again; tools/benchmark.py is their command."""
