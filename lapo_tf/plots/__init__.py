"""Figures and films. They draw what they are given and compute nothing."""
