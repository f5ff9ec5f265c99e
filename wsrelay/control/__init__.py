"""The only room that composes: options, service, logs and the demo."""
