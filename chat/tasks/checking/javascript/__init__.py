"""Tests of JavaScript and TypeScript: Node's runner, Jest and Vitest."""
