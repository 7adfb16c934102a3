"""Tests of Rust: Cargo."""
