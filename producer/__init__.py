"""YouTube -> raw topic: follows search queries, publishes every item found, and remembers how far it came."""
