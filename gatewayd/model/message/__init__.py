"""What is said in a chat: the envelope of an inbound message, the payload of an outbound one, reports about it, commands,
intents, roles, routes.

Nothing here knows how a message is stored (gatewayd/model/records).
"""
