"""Tests of gatewayd/web, in folders as the code has them. ``site.py`` serves a whole gateway over HTTP for them; tests of the hub
behind it belong to tests/hub.
"""
