"""What the services agree on: settings, topics, events, the Video, the read model's names. It opens no socket."""
