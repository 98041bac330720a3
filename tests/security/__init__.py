"""Attackers: what somebody who may publish everything can do to a rack that asks for signatures."""
