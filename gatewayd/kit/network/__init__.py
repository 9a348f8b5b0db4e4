"""What drivers of networks need beside HTTP, one module for each tool.

A tool belongs here when its protocol or scheme is not of one network alone. Each says what happened, as one error; what to do
about it is for the driver to decide.
"""
