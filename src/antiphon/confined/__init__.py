"""Confined children: processes forked for one job on a stranger's input, which may do nothing but answer."""
