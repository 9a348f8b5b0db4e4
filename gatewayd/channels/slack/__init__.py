"""Slack (docs.slack.dev): Socket Mode or the Events API."""
