"""What surrounds the daemon: platforms, people, connectors, agent cores, the disk, and what goes wrong with them."""
