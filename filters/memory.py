"""The in-memory backend's face."""
