"""Tests of authentication: tokens, hosts, origins and redaction. What each route demands is in tests/web/matrix."""
