"""Tests of the operators' and connectors' routes, a module for each resource. The bytes below them belong to tests/web/server."""
