"""Segment images piece by piece into OME-Zarr, here or on a cluster, and go on after a crash."""
