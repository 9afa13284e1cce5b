"""Engine, loss and worker adapters that put algorithms/ under verl's actor."""
