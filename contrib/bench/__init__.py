"""Benchmarks, run from the root of the repository: ``python -m contrib.bench.NAME --help``. See docs/benchmarks.md."""
