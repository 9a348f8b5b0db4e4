"""OpenCode's protocol for operators' clients: which requests are forwarded to an agent's server, and which are answered here.

No answer counts twice. A permission or question of a turn is answered in gatewayd, and the turn delivers the answer to the
server. Other runs on the server belong to the client: what it allows there is recorded before it is forwarded. The HTTP routes
themselves are in ``web/proxy``.
"""
