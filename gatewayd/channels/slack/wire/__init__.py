"""The bytes of Slack as structs. Pure."""
