"""How the app is told: payloads, their retries, Socket Mode, and HTTP."""
