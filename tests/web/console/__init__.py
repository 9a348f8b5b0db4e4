"""Tests of the console's pages and login as HTTP sees them. What the pages do in a browser is in tests/whole/browser."""
