"""Many results side by side: over seeds, beside the papers'."""
