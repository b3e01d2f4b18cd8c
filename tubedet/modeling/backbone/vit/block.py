"""The transformer block of a video ViT."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import stochastic_depth

from tubedet.layers import LayerNorm

# That of every layer norm of the published models, also of the pyramid.
NORM_EPS = 1e-6


class ViTBlock(nn.Module):
    """Layer norm, attention and layer norm, MLP, each with a shortcut around it.

    Parameter names are those of VideoMAE.

    Args:
        width: channels D of the tokens.
        num_heads: attention heads; divides D.
        mlp_width: hidden channels of the MLP.
        init_values: initial scale of both branches, learned per channel (LayerScale); 0: none.
        drop_path: probability that a clip skips a branch in training; each branch draws anew.
    """

    gamma_1: nn.Parameter | None
    gamma_2: nn.Parameter | None

    def __init__(
        self, width: int, num_heads: int, mlp_width: int, init_values: float, drop_path: float
    ):
        super().__init__()
        self.norm1 = LayerNorm(width, eps=NORM_EPS)
        self.attn = ViTAttention(width, num_heads)
        self.norm2 = LayerNorm(width, eps=NORM_EPS)
        self.mlp = ViTMLP(width, mlp_width)
        self.drop_path = drop_path
        for name in ("gamma_1", "gamma_2"):
            gamma = nn.Parameter(torch.full((width,), init_values)) if init_values > 0 else None
            self.register_parameter(name, gamma)

    def forward(self, x: torch.Tensor, attended: torch.Tensor | None = None) -> torch.Tensor:
        """Compute (B, N, D) -> (B, N, D).

        Args:
            x: tokens.
            attended: see :class:`ViTAttention`.
        """
        x = x + self._branch(self.attn(self.norm1(x), attended), self.gamma_1)
        return x + self._branch(self.mlp(self.norm2(x)), self.gamma_2)

    def _branch(self, x: torch.Tensor, gamma: torch.Tensor | None) -> torch.Tensor:
        if gamma is not None:
            x = x * gamma.to(x.dtype)
        if self.training and self.drop_path > 0:
            x = stochastic_depth(x, self.drop_path, "row")
        return x


class ViTAttention(nn.Module):
    """Attention among all tokens, whose queries and values have a bias and whose keys have none.

    Args:
        width: channels D.
        num_heads: divides D.
    """

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, attended: torch.Tensor | None = None) -> torch.Tensor:
        """Compute (B, N, D) -> (B, N, D).

        Args:
            x: tokens.
            attended: bool (B, N), False on tokens that no token attends to; None: all are.
        """
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)
        )
        mask = None if attended is None else attended[:, None, None]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(x.transpose(1, 2).flatten(2))


class ViTMLP(nn.Module):
    """Two linear layers with an exact GELU between them.

    Args:
        width: channels D of the tokens.
        hidden: channels between the layers.
    """

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (..., D) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(x)))
