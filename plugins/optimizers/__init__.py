"""plugins.optimizers"""
