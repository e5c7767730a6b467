"""The WinDivert backend: packets through PyPI's pydivert, which brings the signed driver (and on Linux an eBPF one)."""
