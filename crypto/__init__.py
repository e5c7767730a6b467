"""The WireGuard core: a complete peer in both roles, without sockets, threads, clocks or files."""
