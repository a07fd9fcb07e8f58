"""What is done to a network that stands: counted, watched, diagnosed, converted, folded and frozen."""
