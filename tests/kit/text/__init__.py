"""Tests of texts: markdown to formatted text, its pieces, and safe text. The HTML of the web pages is tested one folder up."""
