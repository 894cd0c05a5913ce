"""plugins.parallelism"""
