"""Tests of what a channel reads requests and serves pages with."""
