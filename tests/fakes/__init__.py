"""Stand-ins with behaviour, held to the real things by tests/suites, and believable documents."""
