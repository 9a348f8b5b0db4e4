"""The statements of each table, one module for each.

No rule belongs here: a rule is an argument of the operation (docs/decisions/0012-rules-are-arguments.md).
"""
