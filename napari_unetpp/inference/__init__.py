"""Arrays in, arrays out: axes, normalisation, tiles, the network, instances. No file, no screen."""
