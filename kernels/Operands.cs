namespace Bert4Rec.Kernels;

/// <summary>The parameters of a layer, or their gradients.</summary>
/// <param name="Weight">[N, K] of a linear layer, [H] of a layer norm, [V, H] of the catalogue.</param>
/// <param name="Bias">[N], [H] or [V].</param>
public readonly record struct WeightAndBias(Tensor Weight, Tensor Bias)
{
    /// <summary>The first <paramref name="rows"/> rows of the weight and as many elements of the bias.</summary>
    public WeightAndBias First(int rows) => new(Weight.First(rows), Bias with { Columns = rows });
}

/// <summary>Which rows of packed queries and keys belong to which sequence.</summary>
/// <param name="QueryOffsets">[B+1]: sequence b has the queries QueryOffsets[b] to QueryOffsets[b+1].</param>
/// <param name="KeyOffsets">[B+1]: the same for keys.</param>
/// <param name="Heads">Attention heads.</param>
/// <param name="MaximumLength">No sequence has more keys than this.</param>
/// <param name="Causal">
/// From left to right: a sequence's n queries are its n newest events, and each sees the keys up to its own, none that is newer.
/// </param>
public readonly record struct AttentionLayout(
    Indices QueryOffsets, Indices KeyOffsets, int Heads, int MaximumLength, bool Causal = false);

/// <summary>Items that the rows of a ranking must not get; <c>default</c> for none.</summary>
/// <param name="Offsets">[B+1]: row b must not get Items[Offsets[b]] to Items[Offsets[b+1]].</param>
/// <param name="Items">Ids, ascending within a row.</param>
public readonly record struct Exclusions(Indices Offsets, Indices Items);
