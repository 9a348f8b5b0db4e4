"""The console: the pages of operators and the login to them.

What the pages show comes from gatewayd/web/api.
"""
