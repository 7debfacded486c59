"""Learn from images and masks."""
