"""The web chat: its page, its login, and the stream of one conversation.

The channel that it speaks for is gatewayd/channels/webchat.
"""
