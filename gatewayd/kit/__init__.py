"""Tools for drivers: the HTTP client, and texts."""
