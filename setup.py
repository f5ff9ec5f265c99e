"""What pyproject.toml cannot say: the native pump is built with cffi."""

from setuptools import setup

setup(cffi_modules=["wsrelay/pump/build.py:builder"])
