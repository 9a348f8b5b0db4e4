"""What each role, scope and login gets at each route: ``answers.txt`` has a line for each route. Other behaviour of a route
belongs to tests/web/api.
"""
