"""The daemon as a process against a Discord server: what users and operators see, through gaps, kills and limits."""
