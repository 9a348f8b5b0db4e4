"""Discord's REST API v10, its rate limits and its errors."""
