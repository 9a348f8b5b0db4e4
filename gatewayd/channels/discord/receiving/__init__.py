"""From Discord to envelopes."""
