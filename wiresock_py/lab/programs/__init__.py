"""Programs that run inside the lab's namespaces as plain scripts of the standard library, by path, not by import."""

__all__: list[str] = []
