"""Benchmarks, and the paper's tables; tools/benchmark.py and tools/reproduce.py run them."""
