"""Random numbers that depend on what they are for, not on when they are drawn.

A key is an int64 tensor `(B,)`, one 32-bit state a sample, made from (seed, index) and refined by
purpose. Numbers are hashes of (key, position): integer operations, so that the CPU and a GPU draw
the same ones, in any batch size, on any number of workers or hosts.

The hash is a 32-bit integer finaliser (xor-shift-multiply, with the constants of Wellons'
lowbias32), applied to key and position in turn. It is meant for simulation, not for secrets.
"""

import math
import zlib

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def _mix(state: Tensor) -> Tensor:
    """Scramble 32-bit states held in int64; a bijection on [0, 2³²)."""
    state = state ^ (state >> 16)
    state = (state * 0x7FEB352D) & _MASK
    state = state ^ (state >> 15)
    state = (state * 0x846CA68B) & _MASK
    return state ^ (state >> 16)


def key(seed: int, indices: Tensor) -> Tensor:
    """Return one key a sample, `(B,)` int64, for samples number `indices` `(B,)` of a stream."""
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    indices = indices.long()
    low = torch.full_like(indices, seed & _MASK)
    state = _mix(low ^ 0x9E3779B9)
    state = _mix(state ^ ((seed >> 32) & _MASK))
    state = _mix(state ^ (indices & _MASK))
    return _mix(state ^ ((indices >> 32) & _MASK))


def purpose(keys: Tensor, name: str, number: int | Tensor = 0) -> Tensor:
    """Return the keys' children for a purpose, and for the `number`th thing of that purpose.

    `number` may be a tensor that broadcasts against `keys`: the result has the broadcast shape.
    """
    state = _mix(keys ^ zlib.crc32(name.encode()))
    return _mix(state ^ (torch.as_tensor(number, device=keys.device) & _MASK))


def bits(keys: Tensor, *shape: int) -> Tensor:
    """Return 32 random bits, `(*keys.shape, *shape)` int64 in [0, 2³²)."""
    count = math.prod(shape)
    positions = torch.arange(count, device=keys.device)
    state = keys.unsqueeze(-1) ^ _mix(positions ^ 0x85EBCA6B)
    return _mix(_mix(state) ^ positions).view(*keys.shape, *shape)


def uniform(keys: Tensor, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return float32 numbers in [low, high), `(*keys.shape, *shape)`."""
    return low + (high - low) * ((bits(keys, *shape) >> 8).float() * 2**-24)


def normal(keys: Tensor, *shape: int) -> Tensor:
    """Return standard normal float32 numbers, `(*keys.shape, *shape)` (Box and Muller)."""
    # 1 - u lies in (0, 1], so that the logarithm is finite.
    radius = (-2 * torch.log1p(-uniform(purpose(keys, "radius"), *shape))).sqrt()
    return radius * torch.cos(2 * math.pi * uniform(purpose(keys, "angle"), *shape))


def integers(keys: Tensor, low: int, high: int, *shape: int) -> Tensor:
    """Return integers in [low, high), `(*keys.shape, *shape)` int64."""
    if high <= low:
        raise ValueError(f"the range [{low}, {high}) is empty")
    return low + ((bits(keys, *shape) * (high - low)) >> 32)


def chance(keys: Tensor, probability: float | Tensor, *shape: int) -> Tensor:
    """Return bool, true with the given probability, `(*keys.shape, *shape)`."""
    return uniform(keys, *shape) < probability
