"""Agent-loop pieces: both views of an image attached to a rollout."""
