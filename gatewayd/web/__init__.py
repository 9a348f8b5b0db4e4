"""The HTTP front: one port for health, status, operators, connectors, webhooks, events and the web chat."""
