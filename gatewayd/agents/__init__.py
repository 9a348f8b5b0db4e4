"""Agent cores, one module each: whatever runs agents. Each exports its manifest as ``PLUGIN``."""
