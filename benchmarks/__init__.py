"""How fast, how lean and how right it is, measured: ``python -m benchmarks --help``."""
