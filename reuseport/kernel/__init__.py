"""What talks to the kernel: addresses, listening sockets, who else is on a port. No HTTP, no asyncio."""
