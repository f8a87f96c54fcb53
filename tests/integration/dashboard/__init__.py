"""The dashboard in a real browser: its pages as tests speak of them."""
