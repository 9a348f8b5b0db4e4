"""What Slack sends us: by Socket Mode or HTTP, and what a backfill finds."""
