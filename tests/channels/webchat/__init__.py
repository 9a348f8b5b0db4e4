"""Tests of the web chat: its driver, its logins and its routes. Its page in a browser belongs to tests/whole/browser."""
