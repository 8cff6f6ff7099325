"""Factors of weight gradients, gathered over evaluations into few large products.

The gradient of a weight matrix is a sum over all evaluations of products of a tall and a narrow
factor.  Stacked along their rows the factors make one product, which a processor does at a higher
rate than many small ones; it is written as (narrow)^T (tall), whose result has the long axis last.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from srnn.adjoint._products import Products

__all__ = ["ROWS", "Gather", "Pair"]

# Rows of the stacked factors: enough for a product's full rate, few enough for the cache.
ROWS = 256


@dataclass(frozen=True)
class Pair:
    """Two factors (rows, narrow) and (rows, tall), and the number of the sum they add to.

    With `total`, the narrow one has a column of ones more, for the sum of the tall one's rows.
    """

    narrow: int
    tall: int
    sum: int
    total: bool = False


class Gather:
    """Stacks of factors; see the module's text.

    Parameters
    ----------
    pairs : list of Pair
    stacks : list of Tensor
        For each pair its narrow factor and its tall one, each with room for some evaluations.
    rows : int
        Rows that one evaluation adds.
    products : Products
    """

    def __init__(
        self, pairs: list[Pair], stacks: list[Tensor], rows: int, products: Products
    ) -> None:
        self.pairs = pairs
        self.addmm = products.addmm
        self.narrow, self.tall = stacks[0::2], stacks[1::2]
        self.capacity = len(self.tall[0]) // rows
        self.rows = rows
        places = [slice(k * rows, (k + 1) * rows) for k in range(self.capacity)]
        self._narrow = [
            [x[place, : p.narrow] for p, x in zip(pairs, self.narrow, strict=True)]
            for place in places
        ]
        self._tall = [[x[place] for x in self.tall] for place in places]
        self.filled = 0
        self.sums: list[Tensor] = []

    @staticmethod
    def shapes(pairs: list[Pair], rows: int) -> list[tuple[int, ...]]:
        """Shapes of the stacks."""
        size = max(1, ROWS // rows) * rows
        return [shape for p in pairs for shape in ((size, p.narrow + p.total), (size, p.tall))]

    def start(self) -> None:
        """Begin new sums."""
        like = self.tall[0]
        sizes = {p.sum: (p.narrow + p.total, p.tall) for p in self.pairs}  # the last one has all
        self.sums = [like.new_zeros(sizes[k]) for k in range(len(sizes))]
        for pair, stack in zip(self.pairs, self.narrow, strict=True):
            stack[:, pair.narrow :] = 1
        self.filled = 0

    @property
    def slots(self) -> tuple[list[Tensor], list[Tensor]]:
        """Where the next evaluation writes its factors, the narrow and the tall ones."""
        return self._narrow[self.filled], self._tall[self.filled]

    def add(self) -> None:
        """Count what was written to the slots."""
        self.filled += 1
        if self.filled == self.capacity:
            self.flush()

    def flush(self) -> None:
        """Multiply what is stacked and add it to the sums."""
        rows = self.filled * self.rows
        for pair, narrow, tall in zip(self.pairs, self.narrow, self.tall, strict=True):
            if rows:
                total = self.sums[pair.sum][: narrow.shape[1]]
                self.addmm(total, narrow[:rows].T, tall[:rows], out=total)
        self.filled = 0
