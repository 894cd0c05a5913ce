"""Plain WebDataset tars, written by others, as a shard set: found, read through once, indexed in a folder of our own."""
