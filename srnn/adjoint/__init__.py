"""Gradients of a rollout that keep less than its whole graph."""
