import torch

from representation.attention import attend, squared_similarity


def maps(channels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, 3, 4, generator=generator, dtype=torch.float64)


def test_attention_is_the_double_sum_in_value_and_gradient():
    """MultiSiam's equations 8 and 9, cell by cell."""
    features, values = maps(5, 0).requires_grad_(), maps(3, 1).requires_grad_()
    expected = torch.zeros_like(values)
    for b in range(2):
        for i in range(12):
            for j in range(12):
                here, there = (features[b, :, n // 4, n % 4] for n in (i, j))
                cosine = here @ there / here.norm() / there.norm()
                weight = cosine.clamp_min(0) ** 2
                share = torch.zeros_like(values)
                share[b, :, i // 4, i % 4] = 1
                expected = expected + share * (weight * values[b, :, j // 4, j % 4])[:, None, None]
    found = attend(features, values)
    torch.testing.assert_close(found, expected)
    direction = maps(3, 2)
    for a, b in zip(
        torch.autograd.grad((found * direction).sum(), (features, values)),
        torch.autograd.grad((expected * direction).sum(), (features, values)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_cell_is_most_similar_to_itself_and_not_to_its_opposite():
    features = maps(5, 0)
    features[:, :, 0, 1] = -3 * features[:, :, 0, 0]
    weights = squared_similarity(features)
    torch.testing.assert_close(weights.diagonal(dim1=1, dim2=2), torch.ones(2, 12).double())
    assert (weights[:, 0, 1] == 0).all()
    assert ((weights >= 0) & (weights <= 1 + 1e-12)).all()


def test_low_precision_does_not_reach_the_similarity():
    features, values = maps(5, 0).float(), maps(3, 1).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(features, values)
    torch.testing.assert_close(found, attend(features, values))
