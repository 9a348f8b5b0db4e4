"""What must hold of a run: at its end in the store and in the world, and at rest in the memory of the daemon."""
