"""A YouTube Data API on your machine: search, playlistItems, videos and channels over HTTP, with faults on request.

It behaves as the real API was seen to behave (offset page tokens, inclusive windows, the 500 cap, two quotas, late
indexing), so that the real Google client and everything behind it can be tried without a key or a network.
"""
