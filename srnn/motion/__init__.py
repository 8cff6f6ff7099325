"""One state to the next: fields, integrators, the rollout, its derivatives and its units."""

__all__: list[str] = []
