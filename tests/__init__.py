"""Tests: each says in one sentence what behaviour it holds."""
