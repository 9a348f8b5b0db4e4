"""The data types of the project: frozen structs, life-cycles, configuration, errors.

I/O and concurrency do not belong here, and nothing is imported from the rest of the package.
"""
