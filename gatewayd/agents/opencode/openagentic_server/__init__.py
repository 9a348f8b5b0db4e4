"""The dialect of the OpenAgentic server: requests, and the log that it streams.

What both servers share is one folder up.
"""
