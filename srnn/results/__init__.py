"""What came out: metrics, a diagnosis, pictures, and figures that move."""

__all__: list[str] = []
