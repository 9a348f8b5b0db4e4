"""Tests of the pages in a real Chromium, against the daemon as a process. They are slow: contrib/check slow runs them."""
