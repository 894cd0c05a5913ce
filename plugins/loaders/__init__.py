"""plugins.loaders"""
