"""From the account to the lane: a message is journaled, admitted or dropped, routed, and counted in the backlog until it ends.

Nothing here runs an agent or sends a reply.
"""
