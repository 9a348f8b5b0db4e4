"""Stores, one folder or module per database."""
