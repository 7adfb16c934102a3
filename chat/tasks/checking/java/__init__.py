"""Tests of Java: JUnit."""
