"""The methods of the Bot API, one module for each kind, and the checks of their parameters.

The HTTP server does not belong here.
"""
