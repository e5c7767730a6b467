"""What Windows says of the host's network (iphlpapi.dll)."""
