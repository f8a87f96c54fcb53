"""Rebuilds the read model from the topic, through the same fold, while readers read and the workers go on."""
