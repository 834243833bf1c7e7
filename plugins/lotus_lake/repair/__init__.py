"""Put right by hand: reconcile, rewind, quarantine, rebuild, initialise."""
