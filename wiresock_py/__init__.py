"""A WireGuard client without a virtual adapter: the tunnel for chosen applications and networks only."""

__version__ = "0.1.0"
