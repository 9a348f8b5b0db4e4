"""Kinds of rows that the store keeps beside messages, and what may be stored at all.

The states of rows are in gatewayd/model/lifecycle.py, the operations in gatewayd/ports/store.
"""
