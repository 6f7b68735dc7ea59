using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>
/// The first values of the parameters, as RecBole's: N(0, range²) for embeddings and matrices, 1 for layer-norm gains, 0 for biases.
/// </summary>
public static class ParameterInitializer
{
    /// <summary>Outside of the streams of a training step, whose steps start at 1.</summary>
    private const uint Step = 0;

    /// <param name="layout">The layout.</param>
    /// <param name="range">Standard deviation.</param>
    /// <param name="seed">Parameter i of the flat buffer depends on (seed, i) alone.</param>
    /// <returns>[layout.Length]</returns>
    public static float[] Draw(ParameterLayout layout, double range, ulong seed)
    {
        var values = new float[layout.Length];
        foreach (var entry in layout.Entries)
        {
            var target = values.AsSpan((int)entry.Offset, (int)entry.Length);
            if (entry.Shape.Length == 2)
                FillNormal(target, entry.Offset, range, seed);
            else if (entry.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) || entry.Name == "output_ln.weight")
                target.Fill(1);
        }
        return values;
    }

    private static void FillNormal(Span<float> target, long offset, double range, ulong seed)
    {
        for (int i = 0; i < target.Length; i++)
        {
            ulong index = (ulong)(offset + i);
            var (x, y, _, _) = Philox.Block((uint)index, (uint)(index >> 32), 0, Step, seed);
            // Box and Muller's transform of two uniform numbers, the first in (0, 1].
            double radius = Math.Sqrt(-2 * Math.Log((x + 1.0) / 4294967296.0));
            target[i] = (float)(range * radius * Math.Cos(2 * Math.PI * y / 4294967296.0));
        }
    }
}
