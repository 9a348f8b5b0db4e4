"""Channel drivers, one folder each: the manifest, wire.py (pure) and channel.py (I/O)."""
