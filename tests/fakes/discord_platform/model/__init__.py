"""What Discord knows: users, guilds, channels, messages, interactions, and one application."""
