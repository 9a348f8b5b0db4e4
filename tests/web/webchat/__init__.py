"""Tests of the web chat over HTTP. Its channel belongs to tests/channels, its page in a browser to tests/whole/browser."""
