"""From payloads to Discord."""
