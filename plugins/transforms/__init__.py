"""plugins.transforms"""
