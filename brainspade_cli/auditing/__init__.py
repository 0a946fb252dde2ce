"""Stations after `sample`: does a dataset repeat people of the training set?"""
