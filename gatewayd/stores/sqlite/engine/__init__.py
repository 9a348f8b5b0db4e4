"""The database file and its two connections: opening, inspection, upgrade, the writer with its transactions, the reader.

Statements about a table do not belong here, but in gatewayd/stores/sqlite/tables.
"""
