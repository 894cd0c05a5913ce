"""plugins.models"""
