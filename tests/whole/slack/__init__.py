"""The daemon as a process against a Slack server: what users and operators see, through gaps, kills, limits and refusals."""
