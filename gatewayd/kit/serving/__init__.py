"""Tools for a channel with routes of its own: read requests, make replies, serve files of pages. Nothing of a server."""
