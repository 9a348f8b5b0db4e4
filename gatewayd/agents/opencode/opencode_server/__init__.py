"""The dialect of the OpenCode server: messages, permissions, questions.

What both servers share is one folder up.
"""
