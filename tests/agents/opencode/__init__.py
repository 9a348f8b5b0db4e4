"""The opencode core against faked servers of both dialects. The real servers are in real, the HTTP front of the proxy in
tests/web."""
