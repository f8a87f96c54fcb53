"""The same list of videos as services are usually written: a web framework, a count and a skip for each page.

Nothing of YouSync is imported here, so that they are what a user would write.
"""
