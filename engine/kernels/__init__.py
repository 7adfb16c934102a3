"""Kernels in C++ for decoding on a CPU, compiled on the machine that they run on."""
