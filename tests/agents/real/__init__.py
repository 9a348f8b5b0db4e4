"""The real agent servers, each driven by a scripted model on loopback."""
