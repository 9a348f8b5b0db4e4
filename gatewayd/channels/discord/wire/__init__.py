"""What Discord sends, as structs. Pure."""
