"""OpenCode's protocol for operators' clients: what may be passed on to an agent's server, and what is answered here.

Looking on and answering need no second way in, and no answer counts twice: a permission or question that a turn of ours waits
for is answered at our desk, and the turn hands the answer to the server. Whatever else runs there belongs to the client; what is
allowed there is recorded before it is passed on.
"""
