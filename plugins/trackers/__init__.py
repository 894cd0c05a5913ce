"""plugins.trackers"""
