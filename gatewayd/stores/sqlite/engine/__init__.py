"""The database file and its two connections: opening, inspection, upgrade, the writer with its transactions, the reader.

No statement about a table belongs here (gatewayd/stores/sqlite/tables).
"""
