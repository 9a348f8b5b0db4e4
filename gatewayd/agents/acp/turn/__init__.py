"""One prompt of an ACP session: its updates, permissions, tool calls, and its end.

The connection and its sessions are one folder up.
"""
