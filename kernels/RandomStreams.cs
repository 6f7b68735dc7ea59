namespace Bert4Rec.Kernels;

/// <summary>
/// The streams of random numbers that one training step draws from (<see cref="RandomKey.Stream"/>). They stay below 2¹⁶, above which
/// attention counts its heads.
/// </summary>
internal static class RandomStreams
{
    /// <summary>Rows are tokens of the batch.</summary>
    public const uint Embedding = 0;

    /// <summary>Rows are sequences of the batch. The next stream, 1001, draws which of them hide only their last event, and 1002, as
    /// RecBole does, whether all of a batch do.</summary>
    public const uint ClozeMask = 1000;

    private const uint FirstLayer = 2000;
    private const uint StreamsOfLayer = 3;

    /// <summary>Rows are tokens of the batch; in the last layer, where only masked rows ask, their numbers. So too below.</summary>
    public static uint AttentionProbabilities(int layer) => FirstLayer + ((uint)layer * StreamsOfLayer);

    public static uint AttentionOutput(int layer) => AttentionProbabilities(layer) + 1;

    public static uint FeedForwardOutput(int layer) => AttentionProbabilities(layer) + 2;
}
