"""Agents and platforms that the tests of whole processes run, each a program or a module that a configuration names."""
