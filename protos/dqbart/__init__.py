"""Folder of the proto package `dqbart.v1`."""
