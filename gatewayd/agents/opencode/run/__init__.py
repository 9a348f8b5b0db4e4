"""One run of a prompt: its progress, its pending requests, and its end.

What concerns more than one run belongs into ``server``.
"""
