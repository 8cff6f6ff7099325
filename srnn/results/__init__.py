"""What came out: tables, metrics, a diagnosis, pictures, and figures that move."""

from srnn.results._table import Table, table

__all__ = ["Table", "table"]
