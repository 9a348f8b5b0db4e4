"""The HTTP server: listening sockets, connections, request heads, HTTP/1.1, and the accelerator for webhooks.

Nothing here knows a resource; the Quart app does (gatewayd/web/app.py).
"""
