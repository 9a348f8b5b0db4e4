"""The JSON API for operators and connectors, one module for each resource.

No page and no cookie belongs here.
"""
