"""Tools that all routes and the server share: errors, bodies, paths, addresses, connection slots, waits, headers.

No route belongs here.
"""
