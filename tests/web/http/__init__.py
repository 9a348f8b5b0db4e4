"""Tests of the tools that routes and the server share. No route belongs here."""
