"""Outages in virtual time: how many callers get a good answer before their deadline, with which policies."""
