"""The best pair of a smaller rank, from the thin factors alone.

By dW = B A the top k singular directions of the product are kept (Eckart and Young: no pair of rank k is
nearer); by A the part of dW that reads the top k right singular directions of A alone, those in which the
paper's Section 7.2 compares A of different ranks.
"""

import torch
from jaxtyping import Float
from torch import Tensor

ORDERS = ("dW", "A")


def truncate(
    A: Float[Tensor, "r d_in"], B: Float[Tensor, "d_out r"], keep: int, by: str = "dW"
) -> tuple[Float[Tensor, "k d_in"], Float[Tensor, "d_out k"]]:
    """A' and B' with k = min(keep, r) directions, in float64; any scale stays the pair's own.

    With B = Q1 R1 and A^T = Q2 R2 only the r x r matrix R1 R2^T is decomposed.  Directions beyond the rank of
    the product have no weight, whichever basis the decomposition gives them.

    Raises:
        ValueError: keep is below 1, the order is none of ORDERS, or the factors do not fit.
    """
    if by not in ORDERS:
        raise ValueError(f"by={by!r} is not an order of directions; valid are {', '.join(ORDERS)}")
    if keep < 1:
        raise ValueError(f"keep={keep} is not valid; keep at least one direction")
    if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1]:
        raise ValueError(f"A is {tuple(A.shape)} and B {tuple(B.shape)}; B A needs (r, d_in) and (d_out, r)")
    A, B = A.detach().double(), B.detach().double()
    if by == "A":
        V = torch.linalg.svd(A, full_matrices=False).Vh[:keep]
        return V, B @ (A @ V.T)
    Q1, R1 = torch.linalg.qr(B)
    Q2, R2 = torch.linalg.qr(A.T)
    U, S, Vh = torch.linalg.svd(R1 @ R2.T)
    return Vh[:keep] @ Q2.T, Q1 @ (U[:, :keep] * S[:keep])
