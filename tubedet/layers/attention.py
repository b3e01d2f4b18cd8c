"""Multi-head attention on PyTorch's fused kernel."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.errors import UserError

from .precision import as_autocast, at_least_float32

# cuDNN's attention, which PyTorch may choose for half precision, fails on a larger batch.
MAX_SEQUENCES = 65_535


class PlainAttention(nn.Module):
    """Scaled dot-product attention of given queries, keys and values, and an output projection.

    Attention dropout is on exactly when :attr:`dropout`, an ordinary dropout module, is in training
    mode.

    Args:
        embed_dim: channels C of values and output.
        num_heads: attention heads; must divide C.
        dropout: dropout probability of the attention weights.

    Raises:
        UserError: if the heads do not divide the channels.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        if embed_dim % num_heads:
            raise UserError(f"{num_heads} attention heads do not divide {embed_dim} channels")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.out_proj.bias)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend with what is already projected; scores are divided by the root of D / heads.

        Args:
            query: (B, N, D), the channels of the heads one after the other.
            key: (B, M, D).
            value: (B, M, C).
            key_padding_mask: bool (B, M), True on keys to ignore.
            bias: (B, heads, N, M), added to the scores; instead of a mask. The sum and
                the softmax are float32 at least, and the weights are kept for the gradient.

        Returns:
            (B, N, C).
        """
        q, k, v = map(self._by_head, (query, key, value))
        if bias is not None:
            out = _attend_biased(q, k, v, bias, self.dropout)
            return self.out_proj(out.transpose(1, 2).flatten(2))
        mask = None if key_padding_mask is None else ~key_padding_mask[:, None, None, :]
        dropout = self.dropout.p if self.dropout.training else 0.0
        out = _attend(q, k, v, mask, dropout)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def mean_weights(
        self, query: torch.Tensor, key: torch.Tensor, key_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the weights (B, N, M) with which :meth:`attend` reads, mean over the heads."""
        q, k = self._by_head(query), self._by_head(key)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask[:, None, None, :], -torch.inf)
        return at_least_float32(scores).softmax(-1).mean(1)

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MultiHeadAttention(PlainAttention):
    """Scaled dot-product attention with the parameters of :class:`torch.nn.MultiheadAttention`.

    Parameter names, shapes and initialisation are those of the PyTorch module (batch first), so
    checkpoints fit; the attention weights are never materialised. Attention dropout is on exactly
    when :attr:`dropout`, an ordinary dropout module, is in training mode.

    Args:
        embed_dim: channels C of queries, keys, values and output.
        num_heads: attention heads; must divide C.
        dropout: dropout probability of the attention weights.

    Raises:
        UserError: if the heads do not divide the channels.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0):
        super().__init__(embed_dim, num_heads, dropout)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from ``query`` (B, N, C) to ``key`` and ``value`` (B, M, C).

        Args:
            key_padding_mask: bool (B, M), True on keys to ignore.
            bias: see :meth:`attend`.

        Returns:
            (B, N, C).
        """
        q, k, v = self._projected(query, key, value)
        return self.attend(q, k, v, key_padding_mask, bias)

    def weights(
        self, query: torch.Tensor, key: torch.Tensor, key_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the weights (B, N, M) with which :meth:`forward` reads, mean over the heads."""
        q, k, _ = self._projected(query, key, key)
        return self.mean_weights(q, k, key_padding_mask)

    def _projected(self, query, key, value):
        """Project the inputs; equal ones by one product."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if query is key is value:
            return F.linear(as_autocast(query), weight, bias).chunk(3, dim=-1)
        value, num = as_autocast(value), 2 * self.embed_dim
        v = F.linear(value, weight[num:], bias[num:])
        if query is key:
            both = F.linear(as_autocast(query), weight[:num], bias[:num])
            return (*both.chunk(2, dim=-1), v)
        w_query, w_key = weight[:num].chunk(2)
        b_query, b_key = bias[:num].chunk(2)
        return F.linear(query, w_query, b_query), F.linear(key, w_key, b_key), v

    def from_shared_query(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Attend from one ``query`` (C,) to every one of N memories (N, M, C), keys and values.

        The result is that of :meth:`forward`. Because the query is the same for all, its product
        with the key projection is taken once and the value projection follows the weighted sum, so
        the cost per memory is that of one vector and not of M.

        Returns:
            (N, C).
        """
        w_query, w_key, w_value = self.in_proj_weight.chunk(3)
        b_query, _, b_value = self.in_proj_bias.chunk(3)  # softmax does not see the keys' bias
        heads = (self.num_heads, -1)
        q = F.linear(query, w_query, b_query).unflatten(0, heads)
        q = q * q.shape[-1] ** -0.5
        asked = torch.einsum("hd,hdc->hc", q, w_key.unflatten(0, heads))
        weights = self.dropout(F.linear(memory, asked).softmax(1))
        pooled = weights.transpose(1, 2) @ memory  # (N, heads, C)
        value = torch.bmm(pooled.transpose(0, 1), w_value.unflatten(0, heads).transpose(1, 2))
        value = value + b_value.unflatten(0, heads)[:, None] * weights.sum(1).t()[..., None]
        return self.out_proj(value.transpose(0, 1).flatten(1))


def _attend_biased(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, dropout: nn.Module
) -> torch.Tensor:
    """Attend (B, heads, N, D) by plain products: fused kernels give a bias no gradient."""
    # Scaled first: float16 could not hold the products otherwise.
    scores = at_least_float32((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)) + bias
    return dropout(scores.softmax(-1)).to(v.dtype) @ v


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: float,
) -> torch.Tensor:
    """Attend (B, heads, N, D), at most :data:`MAX_SEQUENCES` sequences in one call."""
    # The free batch of a traced program stays free: it is not compared.
    num_sequences = q.shape[0]
    if not isinstance(num_sequences, int) or num_sequences <= MAX_SEQUENCES:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    parts = zip(*(x.split(MAX_SEQUENCES) for x in (q, k, v)))
    masks = itertools.repeat(None) if mask is None else mask.split(MAX_SEQUENCES)
    return torch.cat(
        [
            F.scaled_dot_product_attention(some_q, some_k, some_v, some_mask, dropout)
            for (some_q, some_k, some_v), some_mask in zip(parts, masks)
        ]
    )
