"""Tests of the tools that channels and agent cores share, a module each; those of the texts are in text, those for networks in
network."""
