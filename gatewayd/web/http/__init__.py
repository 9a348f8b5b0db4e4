"""Tools that every route and the server share: errors, bodies, paths, addresses, slots, waits, headers.

No route belongs here, and nothing that knows the hub.
"""
