"""plugins.metrics"""
