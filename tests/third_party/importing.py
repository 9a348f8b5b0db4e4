"""Imported anew by each test: what a plug-in raises while it is imported."""

from tests.third_party.traps import ChannelSettings, spring

spring("import")

Settings = ChannelSettings
