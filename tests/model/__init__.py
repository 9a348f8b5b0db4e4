"""Tests of the data types and of the life-cycles as data.

Tests of code that follows the life-cycles belong to the part that does (tests/stores, tests/hub).
"""
