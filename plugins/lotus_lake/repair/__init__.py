"""What people do by hand: rewind, reconcile, quarantine, rebuild, initialise."""
